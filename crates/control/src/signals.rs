//! Signals that end a command, told to somebody instead.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `tell` with the name of each SIGHUP, SIGINT, SIGQUIT and SIGTERM that this process gets from now on, on a thread of its own.
///
/// # Errors
/// The system has no thread or no handler for it.
pub fn watch(mut tell: impl FnMut(&'static str) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(guard);
    std::thread::Builder::new()
        .name("atoll-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tell(tokio::select! {
                        _ = hangup.recv() => "HUP",
                        _ = interrupt.recv() => "INT",
                        _ = quit.recv() => "QUIT",
                        _ = terminate.recv() => "TERM",
                    });
                }
            });
        })?;
    Ok(())
}
