//! Systems without TAP devices that a user may make.

use std::io;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) mod tun {
    //! There are none: every call says so.

    use std::io;
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::unsupported;

    pub(crate) const DELETED: Errno = Errno::NXIO;

    pub(crate) fn create(_fd: impl AsFd, _name: &str) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn name(_fd: impl AsFd) -> io::Result<Option<String>> {
        unsupported()
    }

    pub(crate) fn mac(_fd: impl AsFd) -> io::Result<[u8; 6]> {
        unsupported()
    }

    pub(crate) fn set_header(_fd: impl AsFd, _len: usize) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn set_offloads(_fd: impl AsFd) -> io::Result<bool> {
        unsupported()
    }
}

pub(crate) mod interface {
    //! Interfaces are configured in a namespace of our own only, and there is none.

    use std::io;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::os::fd::{AsFd, OwnedFd};

    use super::unsupported;

    pub(crate) fn control() -> io::Result<OwnedFd> {
        unsupported()
    }

    pub(crate) fn set_up(_control: impl AsFd, _name: &str) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn set_mac(_control: impl AsFd, _name: &str, _mac: [u8; 6]) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn set_mtu(_control: impl AsFd, _name: &str, _mtu: u16) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn set_address(
        _control: impl AsFd,
        _name: &str,
        _address: Ipv4Addr,
        _netmask: Ipv4Addr,
    ) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn add_default_route(_control: impl AsFd, _name: &str, _gateway: Ipv4Addr) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn add_address6(_name: &str, _address: Ipv6Addr, _prefix_len: u8) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn add_default_route6(_name: &str, _gateway: Ipv6Addr) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn configure_by_hand(_name: &str) -> io::Result<()> {
        unsupported()
    }
}

pub(crate) mod memory {
    //! Guests' memory is shared on Linux only: nothing is ever mapped.

    use std::convert::Infallible;
    use std::io;
    #[cfg(any(test, feature = "front-end"))]
    use std::os::fd::OwnedFd;
    use std::os::fd::{AsFd, BorrowedFd};

    use bytes::BytesMut;

    use super::unsupported;

    #[derive(Debug)]
    pub(crate) struct Mapping(Infallible);

    impl Mapping {
        pub(crate) fn new(_fd: BorrowedFd<'_>, _offset: u64, _len: usize) -> io::Result<Self> {
            unsupported()
        }

        pub(crate) fn len(&self) -> usize {
            match self.0 {}
        }

        pub(crate) fn is_lost(&self) -> bool {
            match self.0 {}
        }

        pub(crate) fn read<const N: usize>(&self, _at: usize) -> Option<[u8; N]> {
            match self.0 {}
        }

        pub(crate) fn copy_to(&self, _at: usize, _into: &mut [u8]) -> Option<()> {
            match self.0 {}
        }

        pub(crate) fn append_to(&self, _at: usize, _len: usize, _buf: &mut BytesMut) -> Option<()> {
            match self.0 {}
        }

        pub(crate) fn write(&self, _at: usize, _bytes: &[u8]) -> Option<()> {
            match self.0 {}
        }

        pub(crate) fn load(&self, _at: usize) -> Option<u16> {
            match self.0 {}
        }

        pub(crate) fn store(&self, _at: usize, _value: u16) -> Option<()> {
            match self.0 {}
        }
    }

    #[cfg(any(test, feature = "front-end"))]
    impl Mapping {
        pub(crate) fn fill_from(&self, _fd: impl AsFd, _places: &[(usize, usize)]) -> io::Result<usize> {
            match self.0 {}
        }

        pub(crate) fn drain_to(&self, _fd: impl AsFd, _places: &[(usize, usize)]) -> io::Result<usize> {
            match self.0 {}
        }
    }

    #[cfg(any(test, feature = "front-end"))]
    pub(crate) fn memory_file(_len: u64) -> io::Result<OwnedFd> {
        unsupported()
    }

    #[cfg(any(test, feature = "front-end"))]
    pub(crate) fn event() -> io::Result<OwnedFd> {
        unsupported()
    }

    pub(crate) fn full_barrier() {}

    pub(crate) fn is_event(_fd: impl AsFd) -> bool {
        false
    }

    pub(crate) fn signal(_fd: impl AsFd) -> io::Result<()> {
        unsupported()
    }
}
