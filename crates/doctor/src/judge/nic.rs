//! Whether frames from other MAC addresses than a NIC's own get anywhere.
//!
//! An access point takes frames only from stations that joined it (IEEE 802.11 has no room for a fourth address there), and the
//! virtual networks of clouds only from MACs that they gave out. Both drop the others without a word, which looks like a
//! bridge that does not work. A NIC's driver and the machine's DMI tell which it is.

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nic {
    pub(crate) name: String,
    /// The name of its driver; a virtual interface has none.
    pub(crate) driver: Option<String>,
    pub(crate) is_wireless: bool,
    pub(crate) is_bridge: bool,
}

/// What the firmware says of the machine; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dmi {
    pub(crate) vendor: String,
    pub(crate) product: String,
    pub(crate) asset_tag: String,
}

/// What becomes of foreign MACs behind a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Dropped by the access point.
    WiFi,
    /// Dropped by this cloud.
    Cloud(&'static str),
    /// It is a virtual machine's: that depends on its hypervisor.
    Guest,
    /// It is a bridge already.
    Bridge,
    /// It is no NIC: a tunnel, a dummy.
    Virtual,
    /// Taken, as on any wire.
    Wire,
}

/// Drivers of clouds' own NICs: they are nowhere else.
const CLOUD_DRIVERS: [(&str, &str); 3] = [("ena", "Amazon EC2"), ("gve", "Google Cloud"), ("mana", "Azure")];

/// Vendors of machines as clouds write them.
const CLOUD_VENDORS: [(&str, &str); 11] = [
    ("Amazon EC2", "Amazon EC2"),
    ("Google", "Google Cloud"),
    ("DigitalOcean", "DigitalOcean"),
    ("Hetzner", "Hetzner Cloud"),
    ("Alibaba Cloud", "Alibaba Cloud"),
    ("Tencent Cloud", "Tencent Cloud"),
    ("Scaleway", "Scaleway"),
    ("Vultr", "Vultr"),
    ("Linode", "Akamai Cloud"),
    ("Akamai", "Akamai Cloud"),
    ("OpenStack Foundation", "an OpenStack cloud"),
];

/// Chassis asset tags by which clouds are told that run on somebody else's machine type (systemd's `detect_vm` and cloud-init's
/// `ds-identify` know the same).
const CLOUD_TAGS: [(&str, &str); 2] = [
    ("7783-7084-3265-9085-8269-3286-77", "Azure"),
    ("OracleCloud.com", "Oracle Cloud"),
];

/// Drivers of NICs that only virtual machines have.
const GUEST_DRIVERS: [&str; 5] = ["virtio_net", "vmxnet3", "hv_netvsc", "xen-netfront", "vif"];

/// What becomes of foreign MACs behind this NIC of this machine.
pub(crate) fn foreign(nic: &Nic, dmi: &Dmi) -> Foreign {
    if nic.is_wireless {
        return Foreign::WiFi;
    }
    if nic.is_bridge {
        return Foreign::Bridge;
    }
    let Some(driver) = nic.driver.as_deref() else {
        return Foreign::Virtual;
    };
    if let Some(cloud) = cloud(driver, dmi) {
        return Foreign::Cloud(cloud);
    }
    if GUEST_DRIVERS.contains(&driver) {
        return Foreign::Guest;
    }
    Foreign::Wire
}

fn cloud(driver: &str, dmi: &Dmi) -> Option<&'static str> {
    let by_driver = CLOUD_DRIVERS.iter().find(|(name, _)| *name == driver);
    let by_vendor = || {
        CLOUD_VENDORS
            .iter()
            .find(|(vendor, _)| dmi.vendor.starts_with(vendor))
    };
    let by_tag = || CLOUD_TAGS.iter().find(|(tag, _)| dmi.asset_tag == *tag);
    // Bare metal of a cloud has real NICs on a network that drops foreign MACs as well, so the vendor alone says enough.
    by_driver
        .or_else(by_tag)
        .or_else(by_vendor)
        .map(|(_, cloud)| *cloud)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(driver: &str, vendor: &str, tag: &str) -> Foreign {
        let nic = Nic {
            name: "eth0".to_owned(),
            driver: Some(driver.to_owned()),
            ..Nic::default()
        };
        let dmi = Dmi {
            vendor: vendor.to_owned(),
            product: String::new(),
            asset_tag: tag.to_owned(),
        };
        foreign(&nic, &dmi)
    }

    #[test]
    fn clouds_are_told_by_driver_vendor_or_tag() {
        for (driver, vendor, tag, expected) in [
            ("ena", "", "", Foreign::Cloud("Amazon EC2")),
            ("gve", "Google", "", Foreign::Cloud("Google Cloud")),
            ("virtio_net", "Google", "", Foreign::Cloud("Google Cloud")),
            ("virtio_net", "Hetzner", "", Foreign::Cloud("Hetzner Cloud")),
            (
                "hv_netvsc",
                "Microsoft Corporation",
                "7783-7084-3265-9085-8269-3286-77",
                Foreign::Cloud("Azure"),
            ),
            (
                "virtio_net",
                "QEMU",
                "OracleCloud.com",
                Foreign::Cloud("Oracle Cloud"),
            ),
            ("hv_netvsc", "Microsoft Corporation", "", Foreign::Guest),
            ("virtio_net", "QEMU", "", Foreign::Guest),
            ("virtio_net", "", "", Foreign::Guest),
            ("e1000e", "LENOVO", "", Foreign::Wire),
        ] {
            assert_eq!(told(driver, vendor, tag), expected, "{driver}, {vendor}, {tag}");
        }
    }

    #[test]
    fn a_tunnel_has_no_driver_and_a_bridge_is_what_it_is() {
        let tunnel = Nic {
            name: "wg0".to_owned(),
            ..Nic::default()
        };
        assert_eq!(foreign(&tunnel, &Dmi::default()), Foreign::Virtual);
        let bridge = Nic {
            is_bridge: true,
            ..tunnel
        };
        assert_eq!(foreign(&bridge, &Dmi::default()), Foreign::Bridge);
    }
}
