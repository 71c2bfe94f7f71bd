//! What differs between platforms for commands: being interrupted, and starting a process that outlives them.

use std::process::Command;

/// How somebody asked this process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, or the terminal is gone.
    Terminate,
}

/// The wishes to end this process. While one of these exists, they no longer end it by themselves.
pub(super) struct Signals(imp::Signals);

impl Signals {
    /// Starts listening.
    pub(super) fn new() -> std::io::Result<Self> {
        imp::Signals::new().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Stop {
        self.0.next().await
    }
}

/// Lets a command go on when this process, its terminal or its group ends.
pub(super) fn detach(command: &mut Command) {
    imp::detach(command);
}

#[cfg(unix)]
mod imp {
    use super::Stop;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
        hangup: Signal,
    }

    impl Signals {
        pub(super) fn new() -> std::io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            })
        }

        pub(super) async fn next(&mut self) -> Stop {
            tokio::select! {
                _ = self.interrupt.recv() => Stop::Interrupt,
                _ = self.terminate.recv() => Stop::Terminate,
                _ = self.hangup.recv() => Stop::Terminate,
            }
        }
    }

    pub(super) fn detach(command: &mut Command) {
        command.process_group(0);
    }
}

#[cfg(windows)]
mod imp {
    use super::Stop;
    use std::os::windows::process::CommandExt as _;
    use std::process::Command;
    use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

    const DETACHED_PROCESS: u32 = 0x0000_0008;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;

    pub(super) struct Signals {
        interrupt: CtrlC,
        terminate: CtrlBreak,
    }

    impl Signals {
        pub(super) fn new() -> std::io::Result<Self> {
            Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_break()? })
        }

        pub(super) async fn next(&mut self) -> Stop {
            tokio::select! {
                _ = self.interrupt.recv() => Stop::Interrupt,
                _ = self.terminate.recv() => Stop::Terminate,
            }
        }
    }

    pub(super) fn detach(command: &mut Command) {
        command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    }
}
