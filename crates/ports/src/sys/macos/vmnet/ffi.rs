//! vmnet.framework as `vmnet/vmnet.h` declares it, as far as macOS 15 has it and we use it; and dispatch queues.
//!
//! References of the framework's are opaque pointers here. Apple's documentation names the meaning of each.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use crate::vmnet::VmnetMode;

/// `VMNET_INTERFACE_PACKETS_AVAILABLE`.
pub(super) const PACKETS_AVAILABLE: u32 = 1;

/// `struct vmpktdesc`: one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Desc {
    /// Before a read: room; after it, and before a write: bytes of the packet.
    pub(super) size: usize,
    pub(super) iov: *mut libc::iovec,
    pub(super) iov_count: u32,
    pub(super) flags: u32,
}

#[link(name = "vmnet", kind = "framework")]
unsafe extern "C" {
    pub(super) fn vmnet_start_interface(
        desc: *mut c_void,
        queue: *mut c_void,
        handler: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn vmnet_stop_interface(
        interface: *mut c_void,
        queue: *mut c_void,
        handler: *mut c_void,
    ) -> u32;
    pub(super) fn vmnet_interface_set_event_callback(
        interface: *mut c_void,
        events: u32,
        queue: *mut c_void,
        callback: *mut c_void,
    ) -> u32;
    pub(super) fn vmnet_read(interface: *mut c_void, packets: *mut Desc, count: *mut c_int) -> u32;
    pub(super) fn vmnet_write(interface: *mut c_void, packets: *mut Desc, count: *mut c_int) -> u32;
    pub(super) fn vmnet_copy_shared_interface_list() -> *mut c_void;

    pub(super) static vmnet_operation_mode_key: *const c_char;
    pub(super) static vmnet_shared_interface_name_key: *const c_char;
    pub(super) static vmnet_start_address_key: *const c_char;
    pub(super) static vmnet_end_address_key: *const c_char;
    pub(super) static vmnet_subnet_mask_key: *const c_char;
    pub(super) static vmnet_nat66_prefix_key: *const c_char;
    pub(super) static vmnet_network_identifier_key: *const c_char;
    pub(super) static vmnet_mtu_key: *const c_char;
    pub(super) static vmnet_enable_isolation_key: *const c_char;
    pub(super) static vmnet_enable_tso_key: *const c_char;
    pub(super) static vmnet_allocate_mac_address_key: *const c_char;
    pub(super) static vmnet_mac_address_key: *const c_char;
    pub(super) static vmnet_max_packet_size_key: *const c_char;
    pub(super) static vmnet_read_max_packets_key: *const c_char;
    pub(super) static vmnet_write_max_packets_key: *const c_char;
    pub(super) static vmnet_estimated_packets_available_key: *const c_char;
}

unsafe extern "C" {
    fn dispatch_queue_create(label: *const c_char, attributes: *mut c_void) -> *mut c_void;
    fn dispatch_release(object: *mut c_void);
}

/// `operating_modes_t`.
pub(super) fn mode(mode: &VmnetMode) -> u64 {
    match mode {
        VmnetMode::Host { .. } => 1000,
        VmnetMode::Shared { .. } => 1001,
        VmnetMode::Bridged { .. } => 1002,
    }
}

/// A serial dispatch queue.
#[derive(Debug)]
pub(super) struct Queue(*mut c_void);

impl Queue {
    pub(super) fn new() -> Self {
        // SAFETY: the label is a C string; no attributes is a serial queue.
        Self(unsafe { dispatch_queue_create(c"atoll.vmnet".as_ptr(), ptr::null_mut()) })
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `dispatch_queue_create`, and released once.
        unsafe { dispatch_release(self.0) };
    }
}
