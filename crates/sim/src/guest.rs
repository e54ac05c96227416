//! Guests: whatever sits behind a port.
//!
//! Two of them, so that the engine meets two opinions of what TCP is: [`StackGuest`] runs smoltcp's whole stack, [`LeanGuest`] a
//! small TCP of our own that is modern (SACK, window scaling, large segments), quick, and checks every segment of the engine's.

mod lean;
mod stack;

use atoll_engine::Instant;
use atoll_wire::Frame;

pub use lean::{Connection, LeanGuest, Profile};
pub use stack::StackGuest;

/// What the world asks of a guest.
pub trait Guest {
    /// The engine gives this frame to the link, which may do with it what links do.
    fn inspect(&mut self, frame: &Frame) {
        let _ = frame;
    }

    /// A frame arrived.
    fn handle_frame(&mut self, frame: Frame);

    /// Let stack and programs run. Returns the frames they send.
    fn run(&mut self, now: Instant) -> Vec<Frame>;

    /// When it wants to run without being sent anything.
    fn poll_timeout(&mut self, now: Instant) -> Option<Instant>;
}
