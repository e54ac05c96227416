//! Pages of guests' memory that are not there.
//!
//! The kernel answers an access behind the end of a mapped file, or to a page for which a full file system has no room, with
//! SIGBUS at the very instruction. Every mapping of guests' memory has an entry in a table; the handler looks the address up
//! there, puts memory of our own where the file was, notes that, and the instruction is run again. An address that is in no
//! entry is nobody's: what was installed before gets the signal, which as a rule ends the process.
//!
//! The handler runs on the thread that made the access and does only what signal-safety(7) allows, and `mmap`, which is a
//! bare system call. Entries are written before their mapping is used and cleared before it goes.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings at a time. A guest has two to eight.
const ENTRIES: usize = 2048;

struct Entry {
    taken: AtomicBool,
    /// Zero while there is none.
    start: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static TABLE: [Entry; ENTRIES] = [const {
    Entry {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        hit: AtomicBool::new(false),
    }
}; ENTRIES];

/// What SIGBUS did before, or that it cannot be handled.
static PREVIOUS: OnceLock<Option<Previous>> = OnceLock::new();

struct Previous(libc::sigaction);

// SAFETY: a `sigaction` is numbers and the addresses of functions.
unsafe impl Send for Previous {}
// SAFETY: it is never changed.
unsafe impl Sync for Previous {}

/// An entry of the table.
#[derive(Debug)]
pub(crate) struct Guard(usize);

impl Guard {
    /// Guard a mapping; `None` when the table is full or the signal cannot be handled.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        PREVIOUS.get_or_init(install).as_ref()?;
        let free = |entry: &Entry| {
            let taken = &entry.taken;
            taken
                .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        let number = TABLE.iter().position(free)?;
        let entry = &TABLE[number];
        entry.hit.store(false, Ordering::Relaxed);
        entry.len.store(len, Ordering::Relaxed);
        entry.start.store(start, Ordering::Release);
        Some(Self(number))
    }

    /// Whether memory of our own is there by now.
    pub(crate) fn is_hit(&self) -> bool {
        TABLE[self.0].hit.load(Ordering::Relaxed)
    }

    /// The mapping goes now.
    pub(crate) fn release(&self) {
        let entry = &TABLE[self.0];
        entry.start.store(0, Ordering::Release);
        entry.taken.store(false, Ordering::Release);
    }
}

fn install() -> Option<Previous> {
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a `sigaction` with the default action and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both are valid, and the handler is a function of the kind that SA_SIGINFO asks for.
    let status = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, previous.as_mut_ptr()) };
    // SAFETY: zeroed at first, which is valid, and filled in by the call.
    (status == 0).then(|| Previous(unsafe { previous.assume_init() }))
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() }.addr();
    let holds = |entry: &&Entry| {
        let start = entry.start.load(Ordering::Acquire);
        start != 0
            && address
                .checked_sub(start)
                .is_some_and(|at| at < entry.len.load(Ordering::Relaxed))
    };
    if let Some(entry) = TABLE.iter().find(holds) {
        let start = entry.start.load(Ordering::Relaxed);
        // SAFETY: the whole of a mapping that its guard keeps, and that nobody has a reference into, gives way to memory of ours.
        let replaced = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(start),
                entry.len.load(Ordering::Relaxed),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if replaced != libc::MAP_FAILED {
            entry.hit.store(true, Ordering::Relaxed);
            return;
        }
    }
    if let Some(Some(previous)) = PREVIOUS.get() {
        // SAFETY: what was installed before; the instruction is run again and meets it.
        unsafe { libc::sigaction(signal, &raw const previous.0, std::ptr::null_mut()) };
    }
}
