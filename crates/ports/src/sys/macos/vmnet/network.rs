//! A network whose services are turned off before there is an interface on it (macOS 26).

use std::ffi::c_void;
use std::net::Ipv4Addr;
use std::ptr::NonNull;

use super::ffi;
use super::symbols::Networks;
use crate::vmnet::{Status, VmnetMode, VmnetOptions, VmnetRange};

#[link(name = "CoreFoundation", kind = "framework")]
unsafe extern "C" {
    fn CFRelease(object: *mut c_void);
}

/// A network; it and the addresses that it reserves live as long as this and its interfaces.
#[derive(Debug)]
pub(super) struct Network {
    network: Object,
    functions: Networks,
}

/// A Core Foundation object of ours.
#[derive(Debug)]
struct Object(NonNull<c_void>);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: made for us by a function named `create`, and released once.
        unsafe { CFRelease(self.0.as_ptr()) };
    }
}

impl Network {
    /// A network of shared or host mode without DHCP and DNS of the system's.
    pub(super) fn new(functions: &Networks, options: &VmnetOptions) -> Result<Self, Status> {
        let mode = u32::try_from(ffi::mode(&options.mode)).map_err(|_| Status::InvalidArgument)?;
        // SAFETY: the function exists, and fills in the status.
        let configuration = created(|status| unsafe { (functions.configuration_create)(mode, status) })?;
        let raw = configuration.0.as_ptr();
        // SAFETY: `raw` is a configuration of ours.
        unsafe {
            (functions.disable_dhcp)(raw);
            (functions.disable_dns_proxy)(raw);
        }
        let (range, prefix) = match &options.mode {
            VmnetMode::Shared { range, prefix } => (*range, *prefix),
            VmnetMode::Host { range, .. } => (*range, None),
            VmnetMode::Bridged { .. } => return Err(Status::InvalidArgument),
        };
        if let Some(VmnetRange { start, mask, .. }) = range {
            let (start, mask) = (in_addr(start), in_addr(mask));
            // SAFETY: `raw` is a configuration of ours; the addresses are read during the call.
            Status::check(unsafe { (functions.set_ipv4_subnet)(raw, &raw const start, &raw const mask) })?;
        }
        if let Some(prefix) = prefix {
            let prefix = libc::in6_addr {
                s6_addr: prefix.octets(),
            };
            // SAFETY: as before.
            Status::check(unsafe { (functions.set_ipv6_prefix)(raw, &raw const prefix, 64) })?;
        }
        if let Some(mtu) = options.mtu {
            // SAFETY: `raw` is a configuration of ours.
            Status::check(unsafe { (functions.set_mtu)(raw, u32::from(mtu)) })?;
        }
        // SAFETY: `raw` is a configuration of ours, and the function fills in the status.
        let network = created(|status| unsafe { (functions.network_create)(raw, status) })?;
        Ok(Self {
            network,
            functions: *functions,
        })
    }

    /// Ask for an interface on it.
    ///
    /// # Safety
    /// A dictionary, a dispatch queue and a block that takes a status and a dictionary.
    pub(super) unsafe fn start(
        &self,
        desc: *mut c_void,
        queue: *mut c_void,
        block: *mut c_void,
    ) -> *mut c_void {
        // SAFETY: the network is ours; the others are what the caller says.
        unsafe { (self.functions.start)(self.network.0.as_ptr(), desc, queue, block) }
    }
}

fn created(create: impl FnOnce(*mut u32) -> *mut c_void) -> Result<Object, Status> {
    let mut status = 0;
    match NonNull::new(create(&raw mut status)) {
        Some(object) => Ok(Object(object)),
        None => Err(Status::check(status).err().unwrap_or(Status::Failure)),
    }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}
