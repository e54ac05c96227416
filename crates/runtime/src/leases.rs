//! Leases on disk, so that guests keep their addresses over a restart of the network.
//!
//! `leases.json` in the state folder holds an array, of IPv4 and IPv6 together; each entry says until when it holds, in seconds since 1970, for the
//! network's own clock starts anew each time. It is written to a temporary file, synced and renamed, on a thread of its
//! own: a disk that takes its time does not hold up frames. Only the newest picture counts; older ones may be skipped.
//!
//! A folder is one network's: a second one would give away the first one's addresses after its next start. `lock` beside
//! the file is locked for as long as the network runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atoll_engine::{Lease, Lease6};
use serde::{Deserialize, Serialize};

use crate::{FileLock, LockError, StartError};

const FILE: &str = "leases.json";
const LOCK: &str = "lock";

/// One lease as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    mac: String,
    address: IpAddr,
    /// Of IPv6: for which of the station's identity associations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iaid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// Seconds since 1970.
    expires: u64,
}

/// Leases of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    pub(crate) v4: Vec<Lease>,
    pub(crate) v6: Vec<Lease6>,
}

/// The file, its lock, and the thread that writes it. Dropping it waits until the newest picture is on disk.
#[derive(Debug)]
pub(crate) struct LeaseStore {
    pictures: Option<Sender<Leases>>,
    writer: Option<JoinHandle<()>>,
    /// Given up last, after the writer has ended.
    _lock: FileLock,
}

impl LeaseStore {
    /// Make the folder if it does not exist, lock it, and read what an earlier run left there.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Leases), StartError> {
        let failed = |source| StartError::State {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = FileLock::try_take(&folder.join(LOCK)).map_err(|error| match error {
            LockError::Held { owner, .. } => StartError::StateInUse {
                path: folder.to_owned(),
                owner,
            },
            LockError::File { cause, .. } => failed(cause),
        })?;
        Self::open_locked(folder, lock).map_err(failed)
    }

    fn open_locked(folder: &Path, lock: FileLock) -> io::Result<(Self, Leases)> {
        let path = folder.join(FILE);
        let leases = match fs::read(&path) {
            Ok(text) => read(&text).unwrap_or_else(|error| {
                tracing::warn!("{} is not read, for it is damaged: {error}", path.display());
                Leases::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Leases::default(),
            Err(error) => return Err(error),
        };
        let (pictures, received) = channel();
        let writer = std::thread::Builder::new()
            .name("atoll-leases".to_owned())
            .spawn(move || write_all(&path, &received))?;
        let store = Self {
            pictures: Some(pictures),
            writer: Some(writer),
            _lock: lock,
        };
        Ok((store, leases))
    }

    /// Leases changed.
    pub(crate) fn put(&self, leases: Leases) {
        if let Some(pictures) = &self.pictures
            && pictures.send(leases).is_err()
        {
            tracing::error!("leases are no longer written");
        }
    }
}

impl Drop for LeaseStore {
    fn drop(&mut self) {
        self.pictures = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes leases panicked");
        }
    }
}

fn write_all(path: &Path, pictures: &Receiver<Leases>) {
    while let Ok(mut leases) = pictures.recv() {
        while let Ok(newer) = pictures.try_recv() {
            leases = newer;
        }
        if let Err(error) = replace(path, &leases) {
            tracing::error!("cannot write {}: {error}", path.display());
        }
    }
}

fn replace(path: &Path, leases: &Leases) -> io::Result<()> {
    let now = unix_time();
    let v4 = leases.v4.iter().map(|lease| Entry {
        mac: lease.mac.to_string(),
        address: lease.address.into(),
        iaid: None,
        hostname: lease.hostname.clone(),
        expires: (now + lease.remaining).as_secs(),
    });
    let v6 = leases.v6.iter().map(|lease| Entry {
        mac: lease.mac.to_string(),
        address: lease.address.into(),
        iaid: Some(lease.iaid),
        hostname: lease.hostname.clone(),
        expires: (now + lease.remaining).as_secs(),
    });
    let entries: Vec<Entry> = v4.chain(v6).collect();
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(&entries)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename itself is on disk when its folder is.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn read(text: &[u8]) -> Result<Leases, serde_json::Error> {
    let now = unix_time();
    let entries: Vec<Entry> = serde_json::from_slice(text)?;
    let mut leases = Leases::default();
    for entry in entries {
        let remaining = Duration::from_secs(entry.expires).checked_sub(now);
        let (Some(remaining), Ok(mac)) = (remaining, entry.mac.parse()) else {
            continue;
        };
        let hostname = entry.hostname;
        match entry.address {
            IpAddr::V4(address) => leases.v4.push(Lease {
                mac,
                address,
                hostname,
                remaining,
            }),
            IpAddr::V6(address) => leases.v6.push(Lease6 {
                mac,
                iaid: entry.iaid.unwrap_or_default(),
                address,
                hostname,
                remaining,
            }),
        }
    }
    Ok(leases)
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use atoll_wire::Mac;

    use super::*;

    fn lease(last: u8, remaining: u64) -> Lease {
        Lease {
            mac: Mac([0x52, 0x54, 0, 0, 0, last]),
            address: Ipv4Addr::new(10, 77, 0, last),
            hostname: Some(format!("host{last}")),
            remaining: Duration::from_secs(remaining),
        }
    }

    fn lease6(last: u8, remaining: u64) -> Lease6 {
        Lease6 {
            mac: Mac([0x52, 0x54, 0, 0, 0, last]),
            iaid: 7,
            address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, last.into()),
            hostname: None,
            remaining: Duration::from_secs(remaining),
        }
    }

    fn of(v4: Lease, v6: Lease6) -> Leases {
        let (v4, v6) = (vec![v4], vec![v6]);
        Leases { v4, v6 }
    }

    #[test]
    fn a_lease_is_read_back_with_the_time_it_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let (store, before) = LeaseStore::open(dir.path()).unwrap();
        assert_eq!(before, Leases::default());
        store.put(of(lease(2, 10), lease6(2, 10)));
        store.put(of(lease(3, 3600), lease6(3, 3600)));
        drop(store);
        let (_store, after) = LeaseStore::open(dir.path()).unwrap();
        let ([read], [read6]) = (&after.v4[..], &after.v6[..]) else {
            panic!("the newest picture holds one lease of each family: {after:?}");
        };
        let expected = lease6(3, 0);
        assert_eq!(
            (read6.mac, read6.address, read6.iaid),
            (expected.mac, expected.address, 7)
        );
        assert_eq!((read.mac, read.address), (lease(3, 0).mac, lease(3, 0).address));
        assert_eq!(read.hostname.as_deref(), Some("host3"));
        assert!(read.remaining <= Duration::from_secs(3600));
        assert!(!dir.path().join("leases.json.new").exists());
    }

    #[test]
    fn a_folder_is_one_networks_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = LeaseStore::open(dir.path()).unwrap();
        let second = LeaseStore::open(dir.path()).unwrap_err();
        assert!(
            matches!(&second, StartError::StateInUse { owner, .. } if *owner == std::process::id().to_string()),
            "{second}"
        );
        drop(first);
        LeaseStore::open(dir.path()).unwrap();
    }

    #[test]
    fn an_expired_lease_is_forgotten_and_a_damaged_file_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let expired = r#"[{"mac":"52:54:00:00:00:02","address":"10.77.0.2","expires":1}]"#;
        let expired6 = expired.replace("10.77.0.2", "fd77:77::2");
        for text in [expired, &expired6, "[{"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let (_store, leases) = LeaseStore::open(dir.path()).unwrap();
            assert_eq!(leases, Leases::default());
        }
    }
}
