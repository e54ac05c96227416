//! What is read off processes and kernels beside a load.

pub(crate) mod api;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod tcp;
