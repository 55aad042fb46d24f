//! The command that `provide -- COMMAND …` runs.
//!
//! Owns: the start of the command, the forwarding of signals, the exit status. Does not own: the registration.
//!
//! The command stays in the process group of skyhound, so that job control, Ctrl-Z and reads from the terminal work
//! as without skyhound. (`tini` and `dumb-init` create a process group for the command, which is right for a
//! process 1 and stalls a shell.) A terminal sends its Ctrl-C to the whole group: such a signal has reached the
//! command already and is not forwarded, because many programs stop without cleanup at a second one. The
//! disadvantage: a `kill -INT` of skyhound alone, in the foreground of a terminal, is not forwarded either.
//!
//! When skyhound is killed by `SIGKILL` (or by the kernel's out-of-memory killer), the command must not continue
//! without a registration. On Linux the kernel sends it `SIGTERM` then (`PR_SET_PDEATHSIG`). That must be set in the
//! child between fork and exec; the usual hook for it is unsafe, so the child is skyhound itself, which sets it and
//! then executes the command ([`become_command`]).

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The first argument with which skyhound executes itself, see [`become_command`].
const BECOME_VERB: &str = "--become-command";
/// The exit status if the command cannot be executed (as in a shell).
const NOT_EXECUTABLE: u8 = 126;
/// The exit status if the command does not exist (as in a shell).
const NOT_FOUND: u8 = 127;

/// The exit status of a process that SIGTERM ended.
const TERMINATED: u8 = 128 + 15;

/// The signals that are forwarded to the command.
const FORWARDED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The stream of signals that this process receives.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Replaces the default actions of the `wanted` signals. Signals that are ignored already stay ignored: `nohup`,
    /// or a script that starts skyhound in the background, requests that, and the command inherits it.
    pub(super) fn take(wanted: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let (sender, receiver) = mpsc::channel(16);
        for taken in wanted.iter().copied().filter(|s| ignored & (1 << (s.as_raw() - 1)) == 0) {
            let mut stream = signal(SignalKind::from_raw(taken.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        // The receiver was dropped; another may take the signals again.
                        () = sender.closed() => return,
                        next = stream.recv() => if next.is_none() || sender.send(taken).await.is_err() { return },
                    }
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Returns the next signal. Cancel safe. Never completes if no signal is taken.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Returns the set of ignored signals, bit 0 for signal 1. Outside Linux no safe call returns it.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// A running command.
pub(super) struct RunningCommand {
    child: Child,
    signals: Signals,
}

impl RunningCommand {
    /// Starts the command; `words` has at least one element. Call it on the main thread: the kernel's "parent" of
    /// `PR_SET_PDEATHSIG` is the thread that forked, and a worker may end before the process does.
    pub(super) fn start(words: &[OsString]) -> io::Result<Self> {
        executable(&words[0])?;
        // Before the child exists, so that no signal is lost in between.
        let signals = Signals::take(&FORWARDED)?;
        let mut command = match std::env::current_exe() {
            Ok(skyhound) if cfg!(target_os = "linux") => {
                let mut command = Command::new(skyhound);
                command.arg(BECOME_VERB).arg(std::process::id().to_string()).args(words);
                command
            }
            _ => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
        };
        let child = command.stdin(Stdio::inherit()).kill_on_drop(true).spawn()?;
        Ok(Self { child, signals })
    }

    /// Waits for the end of the command, and forwards signals to it meanwhile.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                signal = self.signals.next() => {
                    if !sent_by_terminal(signal) {
                        self.send(signal);
                    }
                }
            }
        }
    }

    /// Sends SIGTERM to the command.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Sends SIGKILL to the command.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The only possible error is that the command has just ended, which `end` reports.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Checks that the command exists and is executable. The exec is more accurate, but it runs when the registration is
/// already being sent, and a command that does not exist must not be in DNS, not even for a moment.
fn executable(word: &OsStr) -> io::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<_> = if word.as_bytes().contains(&b'/') {
        vec![PathBuf::from(word)]
    } else {
        std::env::split_paths(&path).map(|folder| folder.join(word)).collect()
    };
    let files: Vec<_> = candidates.iter().filter_map(|file| file.metadata().ok()).collect();
    if files.iter().any(|file| file.is_file() && file.permissions().mode() & 0o111 != 0) {
        return Ok(());
    }
    Err(if files.is_empty() { io::ErrorKind::NotFound } else { io::ErrorKind::PermissionDenied }.into())
}

/// Returns `true` if a terminal sends `signal` to its whole foreground process group, and skyhound is in that group.
fn sent_by_terminal(signal: Signal) -> bool {
    let keyboard = matches!(signal, Signal::INT | Signal::QUIT);
    keyboard
        && File::open("/dev/tty")
            .is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}

/// Returns the exit status of a command as a shell reports it: its own, or 128 plus the signal that killed it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Prints the reason why a command did not start. Returns the exit status for it.
pub(super) fn cannot_run(word: &OsString, error: &io::Error) -> ExitCode {
    let word = word.display();
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, "no such command; give its path, or a name that is in PATH".into()),
        io::ErrorKind::PermissionDenied => {
            (NOT_EXECUTABLE, "not executable; `chmod +x` it, or run its interpreter".into())
        }
        _ => (NOT_EXECUTABLE, error.to_string()),
    };
    super::progress::error(&format!("cannot run {word}: {why}"));
    ExitCode::from(code)
}

/// Replaces this process by the command if skyhound executed itself for that. Call it first in `main`, with the
/// process's arguments. It requests from the kernel that this process ends with its parent, and executes the command,
/// so it returns only if that fails. Returns `None` for all other arguments.
///
/// The first argument is not a verb of clap, because a hidden verb still appears in shell completions.
pub fn become_command(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    arguments.next().filter(|verb| verb == BECOME_VERB)?;
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    let program = arguments.next()?;
    if !end_with(parent) {
        return Some(ExitCode::from(TERMINATED));
    }
    let error = std::process::Command::new(&program).args(arguments).exec();
    Some(cannot_run(&program, &error))
}

/// Requests from the kernel that this process ends with `parent`. Returns `false` if `parent` has ended already, in
/// which case nothing would ever end this process.
#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> bool {
    // On an error the command runs nevertheless, as on another system.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    rustix::process::getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent))
}

#[cfg(not(target_os = "linux"))]
fn end_with(_: u32) -> bool {
    true
}
