//! A network as its owner holds it: the thread of the event loop.

use std::thread::JoinHandle;

use crate::event_loop::EventLoop;
use crate::{Handle, NetworkOptions, StartError};

/// A running network. Dropping it ends the network and waits for its end.
#[derive(Debug)]
pub struct Network {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Open everything in `options`, then start the event loop on a thread of its own. When this returns `Ok`, every
    /// socket listens and every file is open.
    ///
    /// # Errors
    /// The first thing that could not be opened; nothing is left open or on disk.
    pub fn start(options: NetworkOptions) -> Result<Self, StartError> {
        let (event_loop, handle) = EventLoop::open(options)?;
        let thread = std::thread::Builder::new()
            .name("atoll-network".to_owned())
            .spawn(move || event_loop.run())
            .map_err(StartError::Loop)?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    /// How other threads ask and change the network.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Wait until the network has ended, by [`Handle::shutdown`].
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the network's thread panicked");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.join();
    }
}
