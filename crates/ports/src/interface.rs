//! A network interface of the current network namespace, to be configured.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_wire::Mac;

use crate::sys::interface as sys;

/// One interface, by its name. Nothing happens before a method is called.
#[derive(Debug)]
pub struct Interface {
    name: String,
    control: OwnedFd,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// There is no socket left for asking.
    pub fn of(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            control: sys::control()?,
        })
    }

    /// Let it take part.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_up(&self) -> io::Result<()> {
        sys::set_up(&self.control, &self.name)
    }

    /// Give it a MAC address; it must not be up.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_mac(&self, mac: Mac) -> io::Result<()> {
        sys::set_mac(&self.control, &self.name, mac.0)
    }

    /// Its largest IP packet, in bytes.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        sys::set_mtu(&self.control, &self.name, mtu)
    }

    /// Give it an address.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_address(&self, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(prefix_len.min(32)))
            .unwrap_or(0);
        sys::set_address(&self.control, &self.name, address, Ipv4Addr::from_bits(mask))
    }

    /// Send what is for nobody here to `gateway`, which must be a neighbour; the interface must be up.
    ///
    /// # Errors
    /// What the system said.
    pub fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        sys::add_default_route(&self.control, &self.name, gateway)
    }

    /// Give it an IPv6 address that it uses at once, for nobody else can have it; the interface must be up.
    ///
    /// # Errors
    /// What the system said.
    pub fn add_address6(&self, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
        sys::add_address6(&self.name, address, prefix_len)
    }

    /// Send what is for nobody here over IPv6 to `gateway`, which must be a neighbour; the interface must be up.
    ///
    /// # Errors
    /// What the system said.
    pub fn add_default_route6(&self, gateway: Ipv6Addr) -> io::Result<()> {
        sys::add_default_route6(&self.name, gateway)
    }

    /// Let router advertisements add no address and no route, and let every address be used at once.
    ///
    /// # Errors
    /// What the system said, such as that settings cannot be written.
    pub fn configure_by_hand(&self) -> io::Result<()> {
        sys::configure_by_hand(&self.name)
    }
}
