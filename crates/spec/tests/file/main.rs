//! The cluster file as its users meet it: what is accepted, what each mistake looks like, what holds for any file.

#![expect(clippy::unwrap_used, reason = "what a test expects is what it asserts")]

mod accepted;
mod attach_errors;
mod catalogue;
mod composed;
mod composed_errors;
mod depends;
mod host;
mod ipv6_errors;
mod joins;
mod kubernetes;
mod lan_errors;
mod policy;
mod properties;
mod schema;
mod services;
mod validate;
mod value_errors;
mod whole_file_errors;

use atoll_spec::{Arch, Cluster, Diagnostics, Source, parse};

fn read(text: &str) -> Result<Cluster, Diagnostics> {
    parse(
        &Source {
            file: "atoll.yaml",
            folder: "My Demo",
            host_arch: Arch::X86_64,
            host: "this host",
        },
        text,
    )
}

fn accepted(text: &str) -> Cluster {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What the user sees.
fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}
