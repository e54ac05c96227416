//! Builds an image without the command line around it: `cargo run --example image -- micro FOLDER`.
#![expect(clippy::print_stderr, reason = "an example says what it does")]

use atoll_images::{Arch, build, image};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder] = words.as_slice() else {
        return Err("usage: image micro|debian FOLDER".into());
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    let progress = &mut |line: &str| eprintln!("{line}");
    let target = build::Target {
        arch: Arch::X86_64,
        release: None,
    };
    let built = match what.as_str() {
        "micro" => build::micro::build(target, folder, progress)?,
        "debian" => build::debian::build(target, &[], folder, progress)?,
        other => return Err(format!("`{other}` cannot be built").into()),
    };
    std::fs::write(folder.join(image::MANIFEST), serde_json::to_vec_pretty(&built)?)?;
    Ok(())
}
