//! The privileged program: all of it is [`atoll_helper::serve`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    atoll_helper::serve()
}
