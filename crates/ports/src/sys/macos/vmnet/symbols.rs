//! What newer releases have, looked up so that the program starts on older ones.

use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ptr::NonNull;

use crate::vmnet::Features;

/// What was found.
#[derive(Debug)]
pub(super) struct Symbols {
    /// `vmnet_enable_virtio_header_key`, macOS 15.4.
    pub(super) virtio_header_key: Option<*const c_char>,
    /// macOS 26.
    pub(super) networks: Option<Networks>,
}

type Create = unsafe extern "C" fn(u32, *mut u32) -> *mut c_void;
type CreateFrom = unsafe extern "C" fn(*mut c_void, *mut u32) -> *mut c_void;
type Disable = unsafe extern "C" fn(*mut c_void);
type SetSubnet = unsafe extern "C" fn(*mut c_void, *const libc::in_addr, *const libc::in_addr) -> u32;
type SetPrefix = unsafe extern "C" fn(*mut c_void, *const libc::in6_addr, u8) -> u32;
type SetMtu = unsafe extern "C" fn(*mut c_void, u32) -> u32;
type Start = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut c_void) -> *mut c_void;

/// The functions of networks that are configured before there is an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Networks {
    pub(super) configuration_create: Create,
    pub(super) disable_dhcp: Disable,
    pub(super) disable_dns_proxy: Disable,
    pub(super) set_ipv4_subnet: SetSubnet,
    pub(super) set_ipv6_prefix: SetPrefix,
    pub(super) set_mtu: SetMtu,
    pub(super) network_create: CreateFrom,
    pub(super) start: Start,
}

impl Symbols {
    pub(super) fn find() -> Self {
        let key = symbol(c"vmnet_enable_virtio_header_key");
        Self {
            // SAFETY: the symbol is a static that holds a C string.
            virtio_header_key: key.map(|key| unsafe { *key.cast::<*const c_char>().as_ptr() }),
            networks: Networks::find(),
        }
    }

    pub(super) fn features(&self) -> Features {
        Features {
            virtio_header: self.virtio_header_key.is_some(),
            networks: self.networks.is_some(),
        }
    }
}

impl Networks {
    /// All of them, or none.
    fn find() -> Option<Self> {
        let create = symbol(c"vmnet_network_configuration_create")?;
        let disable_dhcp = symbol(c"vmnet_network_configuration_disable_dhcp")?;
        let disable_dns_proxy = symbol(c"vmnet_network_configuration_disable_dns_proxy")?;
        let set_ipv4_subnet = symbol(c"vmnet_network_configuration_set_ipv4_subnet")?;
        let set_ipv6_prefix = symbol(c"vmnet_network_configuration_set_ipv6_prefix")?;
        let set_mtu = symbol(c"vmnet_network_configuration_set_mtu")?;
        let network_create = symbol(c"vmnet_network_create")?;
        let start = symbol(c"vmnet_interface_start_with_network")?;
        // SAFETY: the names are those of functions of these types (vmnet/vmnet.h of the macOS 26 SDK).
        unsafe {
            Some(Self {
                configuration_create: transmute::<NonNull<c_void>, Create>(create),
                disable_dhcp: transmute::<NonNull<c_void>, Disable>(disable_dhcp),
                disable_dns_proxy: transmute::<NonNull<c_void>, Disable>(disable_dns_proxy),
                set_ipv4_subnet: transmute::<NonNull<c_void>, SetSubnet>(set_ipv4_subnet),
                set_ipv6_prefix: transmute::<NonNull<c_void>, SetPrefix>(set_ipv6_prefix),
                set_mtu: transmute::<NonNull<c_void>, SetMtu>(set_mtu),
                network_create: transmute::<NonNull<c_void>, CreateFrom>(network_create),
                start: transmute::<NonNull<c_void>, Start>(start),
            })
        }
    }
}

/// Where a loaded library has it.
fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is a C string.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}
