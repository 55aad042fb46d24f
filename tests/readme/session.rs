//! One bash that is given commands as a person would type them, and everything it started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Everything ends with this: when it is dropped, and when the test itself is killed, which closes bash's input.
const ON_EXIT: &str = "trap 'trap - TERM; kill 0' EXIT\n";

/// A running bash in a process group of its own, with new directories for the state of programs.
pub(crate) struct Session {
    bash: Child,
    input: ChildStdin,
    statuses: Lines<BufReader<ChildStdout>>,
    dir: TempDir,
    ran: usize,
}

/// How a command ended.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    /// Both of its outputs, as a terminal shows them.
    pub(crate) printed: String,
}

/// A command in the background.
pub(crate) struct Job {
    pid: Pid,
    output: PathBuf,
}

impl Session {
    /// Opens one at `root`.
    pub(crate) fn open(root: &Path) -> std::io::Result<Self> {
        let dir = TempDir::new()?;
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(root).process_group(0);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_ours)) {
            command.env_remove(name);
        }
        for home in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"] {
            command.env(home, dir.path());
        }
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let input = bash.stdin.take().expect("piped");
        let statuses = BufReader::new(bash.stdout.take().expect("piped")).lines();
        Ok(Self { bash, input, statuses, dir, ran: 0 })
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&mut self, text: &str, deadline: Duration) -> Result<Outcome, String> {
        let (output, status, _) = self.give(text, deadline).await?;
        Ok(Outcome { status, printed: read(&output) })
    }

    /// Starts a command that ends in `&`.
    pub(crate) async fn start(&mut self, text: &str) -> Result<Job, String> {
        let (output, _, pid) = self.give(text, Duration::from_secs(5)).await?;
        let pid = pid.ok_or("bash did not start it in the background")?;
        Ok(Job { pid, output })
    }

    async fn give(&mut self, text: &str, deadline: Duration) -> Result<(PathBuf, i32, Option<Pid>), String> {
        let output = self.dir.path().join(format!("output-{}", self.ran));
        let trap = if self.ran == 0 { ON_EXIT } else { "" };
        self.ran += 1;
        // In braces, not in a subshell: `cd`, variables and jobs stay with the session.
        let script = format!("{trap}{{ {text}\n}} </dev/null >'{}' 2>&1; echo \"$? $!\"\n", output.display());
        self.input.write_all(script.as_bytes()).await.map_err(|e| format!("bash takes no command: {e}"))?;
        let Ok(line) = tokio::time::timeout(deadline, self.statuses.next_line()).await else {
            return Err(format!("did not end within {deadline:?}; it printed\n{}", read(&output)));
        };
        let line = line.map_err(|e| e.to_string())?.ok_or_else(|| format!("bash ended\n{}", read(&output)))?;
        let (status, pid) = line.split_once(' ').ok_or("bash did not print the status")?;
        let status = status.parse().map_err(|_| format!("not a status: {line}"))?;
        Ok((output, status, pid.parse().ok().and_then(Pid::from_raw)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The jobs too: a background job of a shell without job control stays in the shell's group.
        let group = self.bash.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Job {
    /// Its output so far.
    pub(crate) fn printed(&self) -> String {
        read(&self.output)
    }

    /// Returns true while it runs. Bash waits for its jobs as they end, so an ended one is no zombie.
    pub(crate) fn running(&self) -> bool {
        test_kill_process(self.pid).is_ok()
    }
}

/// Variables that cargo gave this test or that would change what the README's programs do.
fn is_ours(name: &str) -> bool {
    // PROTOC and the like come from .cargo/config.toml: the inner cargo reads that itself.
    let names = ["CARGO", "CARGO_TARGET_DIR", "LD_LIBRARY_PATH", "PROTOC", "RUST_LOG"];
    let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_", "ETCD", "SKYDNS_", "SKYHOUND_"];
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn read(output: &Path) -> String {
    String::from_utf8_lossy(&fs::read(output).unwrap_or_default()).into_owned()
}
