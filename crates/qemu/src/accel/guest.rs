//! The trial guest: a few instructions of machine code for each architecture, in place of firmware or kernel.
//!
//! Both count down, go through memory or a device register, and write [`PASSED`] to the first serial port, then end the
//! machine. They need no firmware, disk, or clock. The bytes stand here with their assembly; they were assembled by a
//! real assembler, and the tests run them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Arch;

/// What a guest that got to its end has written.
pub(super) const PASSED: &str = "OK";

/// A ROM that ends at 4 GiB (`-bios`): the processor starts 16 bytes before its end, in real mode.
const ROM_SIZE: usize = 64 << 10;
const ROM_CODE: usize = 0xff00;
const ROM_RESET: usize = 0xfff0;

/// 50 million times two instructions; 64 times 64 KiB of stores; 1000 times a port write and a CPUID.
#[rustfmt::skip]
const X86_CODE: &[u8] = &[
    // 16-bit, CS base 0xffff0000
    0xfa,                                           // ff00 cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x78, 0xff,       // ff01 lgdtl %cs:0xff78
    0x66, 0xb8, 0x11, 0x00, 0x00, 0x00,             // ff08 mov $0x11,%eax     PE and ET; clears CD and NW: caches on
    0x0f, 0x22, 0xc0,                               // ff0e mov %eax,%cr0
    0x66, 0xea, 0x19, 0xff, 0xff, 0xff, 0x08, 0x00, // ff11 ljmpl $8,$0xffffff19
    // 32-bit, flat
    0xb8, 0x10, 0x00, 0x00, 0x00,                   // ff19 mov $0x10,%eax
    0x8e, 0xd8,                                     // ff1e mov %eax,%ds
    0x8e, 0xc0,                                     // ff20 mov %eax,%es
    0xb9, 0x80, 0xf0, 0xfa, 0x02,                   // ff22 mov $50000000,%ecx
    0x49,                                           // ff27 dec %ecx
    0x75, 0xfd,                                     // ff28 jnz 0xff27
    0xbb, 0x40, 0x00, 0x00, 0x00,                   // ff2a mov $64,%ebx
    0xbf, 0x00, 0x00, 0x01, 0x00,                   // ff2f mov $0x10000,%edi
    0xb9, 0x00, 0x40, 0x00, 0x00,                   // ff34 mov $0x4000,%ecx
    0xf3, 0xab,                                     // ff39 rep stosl
    0x4b,                                           // ff3b dec %ebx
    0x75, 0xf1,                                     // ff3c jnz 0xff2f
    0xbe, 0xe8, 0x03, 0x00, 0x00,                   // ff3e mov $1000,%esi
    0xe6, 0x80,                                     // ff43 out %al,$0x80      an exit to QEMU
    0x31, 0xc0,                                     // ff45 xor %eax,%eax
    0x0f, 0xa2,                                     // ff47 cpuid              an exit to the hypervisor
    0x4e,                                           // ff49 dec %esi
    0x75, 0xf7,                                     // ff4a jnz 0xff43
    0xba, 0xf8, 0x03, 0x00, 0x00,                   // ff4c mov $0x3f8,%edx    COM1
    0xb0, b'O',                                     // ff51 mov $'O',%al
    0xee,                                           // ff53 out %al,%dx
    0xb0, b'K',                                     // ff54 mov $'K',%al
    0xee,                                           // ff56 out %al,%dx
    0xe6, 0xf4,                                     // ff57 out %al,$0xf4      isa-debug-exit
    0xf4,                                           // ff59 hlt
    0xeb, 0xfd,                                     // ff5a jmp 0xff59
    0x00, 0x00, 0x00, 0x00,                         // ff5c
    // The descriptors have their accessed bit set: the processor would write it, and this is a ROM.
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // ff60 null
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, // ff68 code, 0 to 4 GiB
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00, // ff70 data, 0 to 4 GiB
    0x17, 0x00, 0x60, 0xff, 0xff, 0xff,             // ff78 limit 23, base 0xffffff60
];

/// `jmp 0xff00` at the reset vector.
const X86_RESET: &[u8] = &[0xe9, 0x0d, 0xff];

/// 8 million times two instructions; 1000 reads of a device register.
const AARCH64_CODE: &[u32] = &[
    0xd538_1003, // mrs x3, sctlr_el1
    0xb274_0063, // orr x3, x3, #0x1000      instruction cache on; it is off at reset
    0xd518_1003, // msr sctlr_el1, x3
    0xd503_3fdf, // isb
    0xd2a0_1000, // movz x0, #0x80, lsl #16
    0xf100_0400, // 1: subs x0, x0, #1
    0x54ff_ffe1, // b.ne 1b
    0xd2a1_2001, // movz x1, #0x900, lsl #16 the PL011 of the virt machine
    0xd280_7d00, // movz x0, #1000
    0xb940_1822, // 2: ldr w2, [x1, #0x18]   its flags: an exit to QEMU
    0xf100_0400, // subs x0, x0, #1
    0x54ff_ffc1, // b.ne 2b
    0x5280_09e2, // movz w2, #'O'
    0xb900_0022, // str w2, [x1]
    0x5280_0962, // movz w2, #'K'
    0xb900_0022, // str w2, [x1]
    0x52b0_8000, // movz w0, #0x8400, lsl #16
    0x7280_0100, // movk w0, #0x0008         PSCI SYSTEM_OFF
    0xd400_0002, // hvc #0
    0xd503_207f, // 3: wfi
    0x17ff_ffff, // b 3b
];

/// The guest in a file, which goes away with this.
#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
}

impl Image {
    /// Writes the guest to a new file in the temporary folder.
    pub(super) fn write(arch: Arch) -> io::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("atoll-trial-{}-{count}.bin", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left by a process of the same number, if at all; another user's makes the next step fail, not follow.
        fs::remove_file(&path).ok();
        let mut file = File::create_new(&path)?;
        let image = Self { path };
        file.write_all(&bytes(arch))?;
        Ok(image)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

fn bytes(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::X86_64 => {
            let mut rom = vec![0; ROM_CODE];
            rom.extend_from_slice(X86_CODE);
            rom.resize(ROM_RESET, 0);
            rom.extend_from_slice(X86_RESET);
            rom.resize(ROM_SIZE, 0);
            rom
        }
        Arch::Aarch64 => AARCH64_CODE.iter().flat_map(|word| word.to_le_bytes()).collect(),
    }
}
