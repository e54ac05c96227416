//! What it takes to have machines on the real QEMU whose guest is a few bytes that do nothing.

use crate::home::Home;

/// As much of a Linux kernel as QEMU looks at (x86 boot protocol 2.04): four setup sectors, loaded high, that jump in place.
pub(crate) fn kernel() -> Vec<u8> {
    let mut image = vec![0; 8192];
    image[0x1f1] = 4;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x200..0x202].copy_from_slice(&[0xeb, 0xfe]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x0204_u16.to_le_bytes());
    image[0x211] = 1;
    image
}

/// The command's standard output; it must succeed.
pub(crate) fn runs(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
