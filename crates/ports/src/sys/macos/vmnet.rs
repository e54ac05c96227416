//! vmnet.framework itself, behind [`Vmnet`].
//!
//! Nothing is decided here: options were checked, and the life of an interface is the port's. What this keeps are the framework's
//! own rules for callers: blocks and dictionaries are reference-counted, a packet has exactly one `iovec`, whose length is the packet's on
//! writing, and sizes and flags are put right before each read.
//!
//! Bindings are ours, and few: the `vmnet` crate (0.10) links functions that only macOS 26 has, so that a program with it does
//! not start on macOS 15. What is newer than macOS 15 is looked up when it is needed ([`symbols`]). Blocks are `block2`'s.

mod ffi;
mod network;
mod symbols;
mod xpc;

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use atoll_wire::Mac;
use block2::RcBlock;

use self::ffi::{Desc, Queue};
use self::network::Network;
use self::symbols::Symbols;
use self::xpc::Dictionary;
use crate::vmnet::{Events, Features, Parameters, Status, Vmnet, VmnetMode, VmnetOptions};

/// How long the end of an interface is waited for when there is no time left: the program may be about to end.
const FAREWELL: Duration = Duration::from_secs(3);

/// The system's framework.
pub(crate) fn framework() -> Option<Box<dyn Vmnet>> {
    Some(Box::new(Framework {
        symbols: Symbols::find(),
        interface: None,
        descs: Vec::new(),
        iovecs: Vec::new(),
    }))
}

#[derive(Debug)]
struct Framework {
    symbols: Symbols,
    interface: Option<Interface>,
    /// Room for the descriptions of a call's packets, kept from call to call. Their pointers mean something during a call only.
    descs: Vec<Desc>,
    iovecs: Vec<libc::iovec>,
}

/// An interface that was asked for.
#[derive(Debug)]
struct Interface {
    handle: NonNull<c_void>,
    /// Callbacks come on this one, one at a time.
    queue: Queue,
    /// It lives as long as the interface.
    _network: Option<Network>,
    events: Events,
    /// Its start was refused: there is nothing to be stopped.
    refused: Arc<AtomicBool>,
    /// Whether its stop was asked for, and whether that was answered.
    stopped: Option<Arc<Latch>>,
}

// SAFETY: the framework's calls have no thread affinity (Apple's own callers use them from any dispatch queue), and `&mut self` keeps
// ours from overlapping. The pointers in `descs` and `iovecs` are not followed between calls.
unsafe impl Send for Framework {}

/// One thread waits for what another says once.
#[derive(Debug, Default)]
struct Latch {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it is open, after waiting so long at most.
    fn wait(&self, timeout: Duration) -> bool {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(is_open, timeout, |is_open| !*is_open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Vmnet for Framework {
    fn features(&self) -> Features {
        self.symbols.features()
    }

    fn interfaces(&self) -> Vec<String> {
        // SAFETY: no arguments; the list is ours to release.
        let list = unsafe { ffi::vmnet_copy_shared_interface_list() };
        xpc::take_strings(list)
    }

    fn has_interface(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else {
            return false;
        };
        // SAFETY: `name` is a C string.
        unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
    }

    fn start(&mut self, options: &VmnetOptions, events: Events) -> Result<(), Status> {
        self.forget();
        let queue = Queue::new();
        let has_header = options.offload && self.symbols.features().virtio_header;
        let refused = Arc::new(AtomicBool::new(false));
        let block = RcBlock::new({
            let (events, refused) = (events.clone(), Arc::clone(&refused));
            move |status: u32, parameters: *mut c_void| {
                let outcome = Status::check(status);
                refused.store(outcome.is_err(), Ordering::Release);
                events.started(outcome.and_then(|()| describe(parameters, has_header)));
            }
        });
        let network = match &self.symbols.networks {
            Some(networks) if !options.services && !options.is_without_services() => {
                Some(Network::new(networks, options)?)
            }
            _ => None,
        };
        let desc = self.describe_wish(options, network.is_some());
        let block_ptr = RcBlock::as_ptr(&block).cast();
        let handle = match &network {
            // SAFETY: the network, the dictionary, the queue and the block are alive; the framework keeps those that it needs.
            Some(network) => unsafe { network.start(desc.as_ptr(), queue.as_ptr(), block_ptr) },
            // SAFETY: as before.
            None => unsafe { ffi::vmnet_start_interface(desc.as_ptr(), queue.as_ptr(), block_ptr) },
        };
        self.interface = Some(Interface {
            handle: NonNull::new(handle).ok_or(Status::Failure)?,
            queue,
            _network: network,
            events,
            refused,
            stopped: None,
        });
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Status> {
        let interface = self.interface.as_ref().ok_or(Status::SetupIncomplete)?;
        let events = interface.events.clone();
        let block = RcBlock::new(move |_kind: u32, event: *mut c_void| {
            // SAFETY: a dictionary of the framework's for the time of the call, or null; the key is a C string.
            let estimate = unsafe { xpc::number(event, ffi::vmnet_estimated_packets_available_key) };
            events.packets(estimate);
        });
        // SAFETY: the interface was started and not stopped; queue and block are alive, and kept by the framework.
        let status = unsafe {
            ffi::vmnet_interface_set_event_callback(
                interface.handle.as_ptr(),
                ffi::PACKETS_AVAILABLE,
                interface.queue.as_ptr(),
                RcBlock::as_ptr(&block).cast(),
            )
        };
        Status::check(status)
    }

    fn stop(&mut self) -> Result<(), Status> {
        let interface = self.interface.as_mut().ok_or(Status::SetupIncomplete)?;
        let outcome = interface.stop();
        if outcome.is_err() {
            self.interface = None;
        }
        outcome
    }

    fn read(&mut self, arena: &mut [u8], sizes: &mut [usize]) -> Result<usize, Status> {
        let interface = self.interface.as_ref().ok_or(Status::SetupIncomplete)?;
        let stride = arena.len().checked_div(sizes.len()).unwrap_or(0).max(1);
        self.iovecs.clear();
        self.iovecs.extend(
            arena
                .chunks_exact_mut(stride)
                .zip(&mut *sizes)
                .map(|(buffer, _)| libc::iovec {
                    iov_base: buffer.as_mut_ptr().cast(),
                    iov_len: buffer.len(),
                }),
        );
        fill(&mut self.descs, &mut self.iovecs);
        let mut count = c_int::try_from(self.descs.len()).unwrap_or(c_int::MAX);
        // SAFETY: `descs` are `count` descriptions, each with one `iovec` of a buffer that is lent to us mutably.
        let status =
            unsafe { ffi::vmnet_read(interface.handle.as_ptr(), self.descs.as_mut_ptr(), &raw mut count) };
        Status::check(status)?;
        let count = usize::try_from(count).unwrap_or(0).min(sizes.len());
        for (size, desc) in sizes.iter_mut().zip(&self.descs).take(count) {
            *size = desc.size;
        }
        Ok(count)
    }

    fn write(&mut self, packets: &[&[u8]]) -> Result<usize, Status> {
        let interface = self.interface.as_ref().ok_or(Status::SetupIncomplete)?;
        self.iovecs.clear();
        self.iovecs.extend(packets.iter().map(|packet| libc::iovec {
            iov_base: packet.as_ptr().cast_mut().cast(),
            iov_len: packet.len(),
        }));
        fill(&mut self.descs, &mut self.iovecs);
        let mut count = c_int::try_from(self.descs.len()).unwrap_or(c_int::MAX);
        // SAFETY: `descs` are `count` descriptions, each with one `iovec` of bytes that live during the call; a write does not change
        // them.
        let status =
            unsafe { ffi::vmnet_write(interface.handle.as_ptr(), self.descs.as_mut_ptr(), &raw mut count) };
        Status::check(status)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

/// One description for each `iovec`, with all of it for the packet.
fn fill(descs: &mut Vec<Desc>, iovecs: &mut [libc::iovec]) {
    descs.clear();
    descs.extend(iovecs.iter_mut().map(|iovec| Desc {
        size: iovec.iov_len,
        iov: ptr::from_mut(iovec),
        iov_count: 1,
        flags: 0,
    }));
}

impl Framework {
    /// What is asked for, in the framework's keys. The network's own were said when it was made.
    fn describe_wish(&self, options: &VmnetOptions, is_of_network: bool) -> Dictionary {
        let mut desc = Dictionary::new();
        // SAFETY: the keys are C strings that the framework exports.
        unsafe {
            // Guests have addresses of their own.
            desc.set_bool(ffi::vmnet_allocate_mac_address_key, false);
            if options.host_interface().is_none() {
                desc.set_bool(ffi::vmnet_enable_isolation_key, options.isolated);
            }
            if let Some(key) = self.symbols.virtio_header_key.filter(|_| options.offload) {
                desc.set_bool(key, true);
                desc.set_bool(ffi::vmnet_enable_tso_key, true);
            }
            if !is_of_network {
                set_mode(&mut desc, options);
            }
        }
        desc
    }

    /// What an earlier interface left, if anything.
    fn forget(&mut self) {
        if let Some(interface) = self.interface.take() {
            match &interface.stopped {
                Some(latch) if latch.wait(Duration::ZERO) => {}
                // It may still call back: what it calls back with must stay.
                Some(_) => std::mem::forget(interface),
                None => drop(interface),
            }
        }
    }
}

/// # Safety
/// The framework is loaded, so that its keys are C strings.
unsafe fn set_mode(desc: &mut Dictionary, options: &VmnetOptions) {
    // SAFETY: by the contract of this function, all keys are C strings.
    unsafe {
        desc.set_number(ffi::vmnet_operation_mode_key, ffi::mode(&options.mode));
        if let Some(mtu) = options.mtu {
            desc.set_number(ffi::vmnet_mtu_key, u64::from(mtu));
        }
        let range = match &options.mode {
            VmnetMode::Bridged { interface } => {
                desc.set_text(ffi::vmnet_shared_interface_name_key, interface);
                None
            }
            VmnetMode::Shared { range, prefix } => {
                if let Some(prefix) = prefix {
                    desc.set_text(ffi::vmnet_nat66_prefix_key, &prefix.to_string());
                }
                *range
            }
            VmnetMode::Host { range, identifier } => {
                if let Some(identifier) = identifier {
                    desc.set_uuid(ffi::vmnet_network_identifier_key, identifier.0);
                }
                *range
            }
        };
        if let Some(range) = range {
            desc.set_text(ffi::vmnet_start_address_key, &range.start.to_string());
            desc.set_text(ffi::vmnet_end_address_key, &range.end.to_string());
            desc.set_text(ffi::vmnet_subnet_mask_key, &range.mask.to_string());
        }
    }
}

/// What the framework says of an interface that is there.
fn describe(parameters: *mut c_void, has_header: bool) -> Result<Parameters, Status> {
    if parameters.is_null() {
        return Err(Status::SetupIncomplete);
    }
    // SAFETY: `parameters` is a dictionary for the time of the callback in which this is called; keys are C strings.
    let number = |key| unsafe { xpc::number(parameters, key) };
    // SAFETY: as before.
    let text = |key| unsafe { xpc::text(parameters, key) };
    // SAFETY: statics of the framework, written by nobody.
    let keys = unsafe {
        [
            ffi::vmnet_mtu_key,
            ffi::vmnet_max_packet_size_key,
            ffi::vmnet_read_max_packets_key,
            ffi::vmnet_write_max_packets_key,
            ffi::vmnet_mac_address_key,
            ffi::vmnet_start_address_key,
            ffi::vmnet_subnet_mask_key,
        ]
    };
    let [mtu, size, reads, writes, mac, start, mask] = keys;
    let mtu = u16::try_from(number(mtu)).map_err(|_| Status::SetupIncomplete)?;
    let size = usize::try_from(number(size)).map_err(|_| Status::SetupIncomplete)?;
    let documented = Parameters::new(mtu, size);
    let packets = |key, or| {
        usize::try_from(number(key))
            .ok()
            .filter(|packets| *packets > 0)
            .unwrap_or(or)
    };
    Ok(Parameters {
        mac: text(mac).and_then(|text| parse_mac(&text)),
        read_max_packets: packets(reads, documented.read_max_packets),
        write_max_packets: packets(writes, documented.write_max_packets),
        host: text(start).and_then(|text| text.parse().ok()),
        mask: text(mask).and_then(|text| text.parse().ok()),
        has_header,
        ..documented
    })
}

/// A MAC address, of whose numbers the framework may leave out leading zeros.
fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(mac))
}

impl Interface {
    fn stop(&mut self) -> Result<(), Status> {
        if self.refused.load(Ordering::Acquire) {
            return Err(Status::SetupIncomplete);
        }
        // SAFETY: the interface was started and not stopped; no callback is set, which takes the present one away.
        let status = unsafe {
            ffi::vmnet_interface_set_event_callback(
                self.handle.as_ptr(),
                ffi::PACKETS_AVAILABLE,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if let Err(status) = Status::check(status) {
            tracing::debug!("vmnet keeps its callback: {status}");
        }
        let latch = Arc::new(Latch::default());
        let block = RcBlock::new({
            let (events, latch) = (self.events.clone(), Arc::clone(&latch));
            move |status: u32| {
                latch.open();
                events.stopped(Status::check(status));
            }
        });
        // SAFETY: the interface was started and not stopped; queue and block are alive, and kept by the framework.
        let status = unsafe {
            ffi::vmnet_stop_interface(
                self.handle.as_ptr(),
                self.queue.as_ptr(),
                RcBlock::as_ptr(&block).cast(),
            )
        };
        Status::check(status)?;
        self.stopped = Some(latch);
        Ok(())
    }
}

impl Drop for Framework {
    fn drop(&mut self) {
        let Some(mut interface) = self.interface.take() else {
            return;
        };
        if interface.stopped.is_none() && interface.stop().is_err() {
            return;
        }
        if let Some(latch) = interface.stopped.clone()
            && !latch.wait(FAREWELL)
        {
            tracing::warn!("vmnet does not say that its interface ended");
            std::mem::forget(interface);
        }
    }
}

/// A C string of the framework's or the system's, copied.
///
/// # Safety
/// It is null, or a C string that lives during the call.
unsafe fn copy(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
