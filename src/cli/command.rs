//! The command that `provide -- COMMAND …` runs.
//!
//! Owns: starting it, passing signals on, its end as an exit status. Does not own: the registration.
//!
//! The command stays in our process group, so that job control, Ctrl-Z and reading the terminal work as if
//! skyhound were not there. (`tini` and `dumb-init` give theirs a group of its own, which is right for a
//! process 1 and stalls a shell.) A terminal sends its Ctrl-C to the whole group: such a signal has reached
//! the command already and is not passed on, because many programs take the second for "now, and rudely".
//! The price: a `kill -INT` of skyhound alone, in the foreground of a terminal, is not passed on either.
//!
//! When skyhound is killed with `SIGKILL` (or by the kernel's out-of-memory killer) the command must not live
//! on outside DNS. On Linux the kernel sends it `SIGTERM` then (`PR_SET_PDEATHSIG`). That must be set in the
//! child between fork and exec; the usual hook for it is unsafe, so the child is skyhound itself, which sets
//! it and turns into the command ([`become_command`]).

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

/// With this first argument skyhound calls itself, see [`become_command`].
const BECOME_VERB: &str = "--become-command";
/// Exit status when the command cannot be run (as in a shell).
const NOT_EXECUTABLE: u8 = 126;
/// Exit status when there is no such command (as in a shell).
const NOT_FOUND: u8 = 127;

/// Exit status of a process that SIGTERM ended.
const TERMINATED: u8 = 128 + 15;

/// What is passed on to the command.
const PASSED_ON: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The signals that this process gets, one after the other.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Takes over `wanted` from their default actions. Not those that are ignored already: who started us
    /// with `nohup`, or in the background of a script, wants it so, and the command inherits it.
    pub(super) fn take(wanted: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let (sender, receiver) = mpsc::channel(16);
        for taken in wanted.iter().copied().filter(|s| ignored & (1 << (s.as_raw() - 1)) == 0) {
            let mut stream = signal(SignalKind::from_raw(taken.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        // Whoever took them is gone; another may take them anew.
                        () = sender.closed() => return,
                        got = stream.recv() => if got.is_none() || sender.send(taken).await.is_err() { return },
                    }
                }
            });
        }
        Ok(Self(receiver))
    }

    /// The next signal. Cancel safe. Waits for ever when none is taken.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// The set of ignored signals, bit 0 for signal 1. Outside Linux there is no safe way to know.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// A command that runs.
pub(super) struct RunningCommand {
    child: Child,
    signals: Signals,
}

impl RunningCommand {
    /// Starts it; `words` has at least one. Call it on the main thread: the kernel's "parent" of
    /// `PR_SET_PDEATHSIG` is the thread that forked, and a worker may end before the process does.
    pub(super) fn start(words: &[OsString]) -> io::Result<Self> {
        executable(&words[0])?;
        // Before the child is there, so that no signal finds us without it.
        let signals = Signals::take(&PASSED_ON)?;
        let mut command = match std::env::current_exe() {
            Ok(own) if cfg!(target_os = "linux") => {
                let mut command = Command::new(own);
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

    /// Until it ends; meanwhile signals are passed on.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                signal = self.signals.next() => {
                    if !has_it_from_the_terminal(signal) {
                        self.send(signal);
                    }
                }
            }
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The one error there can be is that it has just ended, which `end` says.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Whether there is such a command. The exec knows better, but it comes when the registration is on its way
/// already: a command that is not there must not be in DNS, not even for a moment.
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
    let nothing = files.is_empty();
    Err(if nothing { io::ErrorKind::NotFound } else { io::ErrorKind::PermissionDenied }.into())
}

/// Whether a terminal sends `signal` by itself to the whole of its foreground group, and we are in that.
fn has_it_from_the_terminal(signal: Signal) -> bool {
    let keyboard = matches!(signal, Signal::INT | Signal::QUIT);
    keyboard
        && File::open("/dev/tty")
            .is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}

/// The exit status of a command as a shell shows it: its own, or 128 and the signal that killed it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Why a command did not start, and the exit status for it.
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

/// To be called first in `main`, with the process's arguments. If they are those with which skyhound calls
/// itself, arranges that this process ends with its parent, and turns into the command: that returns only
/// when it fails. `None` for all other arguments.
///
/// Not a verb of clap's, because a hidden one still shows up in shell completions.
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

/// Asks the kernel to end this process when `parent` ends; false when it has ended already, and nobody
/// would ever end this one.
#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> bool {
    // Without it the command runs all the same, as it would on another system.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    rustix::process::getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent))
}

#[cfg(not(target_os = "linux"))]
fn end_with(_: u32) -> bool {
    true
}
