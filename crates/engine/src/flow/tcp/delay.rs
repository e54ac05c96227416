//! When an acknowledgement waits for the host's answer, to travel with it.
//!
//! Acknowledgements go at once: a guest's window and its Nagle algorithm wait for them. But where guest and host take turns, request
//! and answer, the answer is on its way already, and a segment for the acknowledgement alone costs everybody on that way as much as
//! the answer does. So a flow in which some small messages in a row were answered within [`PROMPT`] lets the acknowledgement of the
//! next one wait, for [`DELAY`] at most (RFC 9293, 3.8.6.3 allows 500 ms). An answer that does not come in that time ends this until as
//! many answers were prompt again, and so does a guest that speaks twice.

use std::time::Duration;

use super::TcpFlow;
use crate::flow::Cx;

/// An answer that comes so soon is worth waiting for.
const PROMPT: Duration = Duration::from_millis(1);
/// How long an acknowledgement waits.
pub(super) const DELAY: Duration = Duration::from_millis(2);
/// Prompt answers in a row before one waits.
const ENOUGH: u8 = 4;

/// How guest and host talk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// Prompt answers in a row.
    prompt: u8,
    /// It is the host's turn.
    is_hosts: bool,
}

impl TcpFlow {
    /// The host took bytes of the guest's, which are to be acknowledged: now, or with the answer.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        let is_message = self.receiver.is_message();
        let takes_turns = is_message && !self.turns.is_hosts;
        self.turns.is_hosts = is_message;
        if !takes_turns {
            self.turns.prompt = 0;
        }
        if takes_turns && self.turns.prompt >= ENOUGH {
            self.timers.delay_ack(cx.now);
        } else {
            self.send_ack(cx);
        }
    }

    /// New data of the host's is about to be sent.
    pub(super) fn note_answer(&mut self, cx: &Cx<'_>) {
        if self.turns.is_hosts {
            self.turns.is_hosts = false;
            let prompt = self.timers.ack_waits() || self.timers.was_heard_within(cx.now, PROMPT);
            self.turns.prompt = if prompt {
                (self.turns.prompt + 1).min(ENOUGH)
            } else {
                0
            };
        }
    }

    /// The answer did not come in time.
    pub(super) fn stop_delaying(&mut self, cx: &mut Cx<'_>) {
        self.turns = Turns::default();
        self.send_ack(cx);
    }
}
