//! vmnet as its contract has it, for tests: what [`Vmnet`] promises it keeps, to the letter and no further, and what it asks of
//! its callers it enforces by a panic.
//!
//! *No further:* an event comes when the first packet does, and not again before a read found none; its estimate is one packet
//! whatever there is; answers may be held back; an interface that vanished says nothing until it is called.
//!
//! *By a panic:* a second start, a stop without a start, calls in between; buffers that are too short, whose sizes were not put
//! right before the read, or too many; packets that are too many, too large, too small or none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_wire::vnet;

use super::contract::{Features, MAX_BYTES, Parameters, Status, Vmnet};
use super::events::Events;
use super::options::VmnetOptions;
use crate::decoder::MIN_FRAME;

/// Largest frame of an Ethernet whose MTU is 1500.
pub const FRAME_1500: usize = 1514;

/// The framework, for a port.
#[derive(Debug)]
pub struct FakeVmnet(Arc<Mutex<World>>);

/// The system behind it, for a test.
#[derive(Clone, Debug)]
pub struct FakeSystem(Arc<Mutex<World>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    None,
    Starting,
    Running,
    Stopping,
}

/// What a test sets, and what it looks at.
#[derive(Debug)]
pub struct World {
    life: Life,
    /// The answer to the last start or stop was held back, for so long that it may be given up.
    is_unanswered: bool,
    events: Option<Events>,
    /// Events were asked for.
    is_heard: bool,
    /// The packets that lie there were announced.
    announced: bool,
    incoming: VecDeque<Vec<u8>>,
    /// What was written, in order.
    pub outgoing: Vec<Vec<u8>>,
    /// What the next interface is.
    pub parameters: Parameters,
    /// What the framework can do.
    pub features: Features,
    /// The host's interfaces.
    pub interfaces: Vec<String>,
    /// Answers to starts and stops are given by [`FakeSystem::answer`] only.
    pub holds_answers: bool,
    /// Starts are refused by the answer.
    pub refuses: Option<Status>,
    /// Starts are refused at once.
    pub refuses_at_once: Option<Status>,
    /// Calls on the interface fail from now on, by this.
    pub lost: Option<Status>,
    /// Packets that are taken before the buffers are full; `None`: any number.
    pub room: Option<usize>,
    /// A full interface says so by a number of packets (0), not by a word.
    pub is_full_quietly: bool,
    /// What the next write answers.
    pub write_fault: Option<Status>,
    /// Events get lost, as while the host sleeps.
    pub is_asleep: bool,
    /// Starts so far.
    pub starts: u32,
    /// Options of the last start.
    pub options: Option<VmnetOptions>,
}

/// A framework and the system behind it: an interface `en0` with an MTU of 1500, nothing refused.
#[must_use]
pub fn fake() -> (Box<FakeVmnet>, FakeSystem) {
    let world = Arc::new(Mutex::new(World {
        life: Life::None,
        is_unanswered: false,
        events: None,
        is_heard: false,
        announced: false,
        incoming: VecDeque::new(),
        outgoing: Vec::new(),
        parameters: Parameters::new(1500, FRAME_1500),
        features: Features::default(),
        interfaces: vec!["en0".to_owned()],
        holds_answers: false,
        refuses: None,
        refuses_at_once: None,
        lost: None,
        room: None,
        is_full_quietly: false,
        write_fault: None,
        is_asleep: false,
        starts: 0,
        options: None,
    }));
    (Box::new(FakeVmnet(Arc::clone(&world))), FakeSystem(world))
}

impl FakeSystem {
    /// Look at everything, or change it.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.0)
    }

    /// A packet comes from the LAN. It is lost when there is no interface.
    pub fn send(&self, packet: impl Into<Vec<u8>>) {
        let mut world = self.world();
        if world.life != Life::Running || world.lost.is_some() {
            return;
        }
        world.incoming.push_back(packet.into());
        world.announce();
    }

    /// Give the answer that is held back, if there is one.
    pub fn answer(&self) {
        self.world().answer();
    }

    /// The interface is no more, and nobody is told.
    pub fn vanish(&self, status: Status) {
        let mut world = self.world();
        world.lost = Some(status);
        world.incoming.clear();
    }

    /// Whether there is an interface.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let world = self.world();
        world.life == Life::Running && world.lost.is_none()
    }

    /// Whether nothing is there: never started, or stopped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.world().life == Life::None
    }
}

impl World {
    fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true)
            && self.is_heard
            && !self.is_asleep
            && let Some(events) = &self.events
        {
            events.packets(1);
        }
    }

    fn answer(&mut self) {
        let events = self.events.clone();
        match (self.life, self.refuses) {
            (Life::Starting, Some(status)) => {
                self.life = Life::None;
                events.inspect(|events| events.started(Err(status)));
            }
            (Life::Starting, None) => {
                self.life = Life::Running;
                let parameters = self.parameters.clone();
                events.inspect(|events| events.started(Ok(parameters)));
            }
            (Life::Stopping, _) => {
                self.life = Life::None;
                events.inspect(|events| events.stopped(Ok(())));
                self.events = None;
            }
            (Life::None | Life::Running, _) => {}
        }
    }

    fn check_running(&self, call: &str) {
        assert_eq!(
            self.life,
            Life::Running,
            "{call} needs an interface that was started and not stopped"
        );
    }

    /// How many of so many packets find room.
    fn make_room(&mut self, packets: usize) -> Result<usize, Status> {
        let Some(room) = &mut self.room else {
            return Ok(packets);
        };
        let taken = packets.min(*room);
        *room -= taken;
        if taken == 0 && !self.is_full_quietly {
            return Err(Status::BufferExhausted);
        }
        Ok(taken)
    }
}

impl Vmnet for FakeVmnet {
    fn features(&self) -> Features {
        lock(&self.0).features
    }

    fn interfaces(&self) -> Vec<String> {
        lock(&self.0).interfaces.clone()
    }

    fn has_interface(&self, name: &str) -> bool {
        lock(&self.0).interfaces.iter().any(|other| other == name)
    }

    fn start(&mut self, options: &VmnetOptions, events: Events) -> Result<(), Status> {
        let mut world = lock(&self.0);
        assert_eq!(
            options.check(),
            Ok(()),
            "options are checked before they come here"
        );
        let is_abandoned = world.is_unanswered && world.life == Life::Stopping;
        assert!(
            world.life == Life::None || is_abandoned,
            "a start follows a stop, not {:?}",
            world.life
        );
        world.starts += 1;
        world.options = Some(options.clone());
        if let Some(status) = world.refuses_at_once {
            world.life = Life::None;
            return Err(status);
        }
        world.life = Life::Starting;
        world.events = Some(events);
        world.is_heard = false;
        world.announced = false;
        world.incoming.clear();
        world.lost = None;
        world.is_unanswered = world.holds_answers;
        if !world.is_unanswered {
            world.answer();
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Status> {
        let mut world = lock(&self.0);
        world.check_running("listening");
        assert!(
            !std::mem::replace(&mut world.is_heard, true),
            "one callback is enough"
        );
        match world.lost {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    fn stop(&mut self) -> Result<(), Status> {
        let mut world = lock(&self.0);
        assert!(
            matches!(world.life, Life::Starting | Life::Running),
            "a stop follows a start, not {:?}",
            world.life
        );
        if world.lost == Some(Status::InvalidAccess) {
            // Of this one nothing is left that could be stopped.
            world.life = Life::None;
            return Err(Status::InvalidAccess);
        }
        world.life = Life::Stopping;
        world.is_unanswered = world.holds_answers;
        if !world.is_unanswered {
            world.answer();
        }
        Ok(())
    }

    fn read(&mut self, arena: &mut [u8], sizes: &mut [usize]) -> Result<usize, Status> {
        let mut world = lock(&self.0);
        world.check_running("a read");
        let least = world.parameters.buffer_size();
        assert!(
            (1..=world.parameters.read_max_packets).contains(&sizes.len()),
            "{} buffers",
            sizes.len()
        );
        assert!(
            arena.len() <= MAX_BYTES.max(least),
            "{} bytes are too many for one call",
            arena.len()
        );
        let stride = arena.len() / sizes.len();
        assert_eq!(stride * sizes.len(), arena.len(), "buffers are of one size");
        assert!(
            stride >= least,
            "a buffer of {stride} bytes is too short for packets of {least}"
        );
        assert!(
            sizes.iter().all(|size| *size == stride),
            "sizes were not put right before the read"
        );
        if let Some(status) = world.lost {
            return Err(status);
        }
        let count = world.incoming.len().min(sizes.len());
        for ((buffer, size), packet) in arena
            .chunks_exact_mut(stride)
            .zip(sizes)
            .zip(world.incoming.drain(..count))
        {
            *size = packet.len();
            if let Some(place) = buffer.get_mut(..packet.len()) {
                place.copy_from_slice(&packet);
            }
        }
        if count == 0 {
            world.announced = false;
        }
        Ok(count)
    }

    fn write(&mut self, packets: &[&[u8]]) -> Result<usize, Status> {
        let mut world = lock(&self.0);
        world.check_running("a write");
        assert!(
            (1..=world.parameters.write_max_packets).contains(&packets.len()),
            "{} packets",
            packets.len()
        );
        let header = if world.parameters.has_header { vnet::LEN } else { 0 };
        let sizes = MIN_FRAME + header..=world.parameters.buffer_size();
        assert!(
            packets.iter().all(|packet| sizes.contains(&packet.len())),
            "every packet is a frame of {sizes:?}"
        );
        let bytes: usize = packets.iter().map(|packet| packet.len()).sum();
        assert!(
            packets.len() == 1 || bytes <= MAX_BYTES,
            "{bytes} bytes are too many for one call"
        );
        if let Some(status) = world.lost.or(world.write_fault.take()) {
            return Err(status);
        }
        let taken = world.make_room(packets.len())?;
        let copies = packets.iter().take(taken).map(|packet| packet.to_vec());
        world.outgoing.extend(copies);
        Ok(taken)
    }
}

impl Drop for FakeVmnet {
    fn drop(&mut self) {
        let mut world = lock(&self.0);
        world.life = Life::None;
        world.events = None;
    }
}

/// A test that panicked with it is over.
fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
