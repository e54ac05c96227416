//! See the library.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    atoll_bench::main()
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::print_stderr, reason = "bad usage is told on stderr")]
fn main() -> ExitCode {
    eprintln!("error: the benchmarks are made of Linux's network namespaces, and run on Linux only");
    ExitCode::from(2)
}
