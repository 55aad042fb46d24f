//! Reloading zone files when they change.
//!
//! Owns: the time at which a file is read, and the zone that stays in use when it is invalid. Does not own: the
//! validation ([`super::zone`]).
//!
//! Modification times and lengths are compared, as for certificates ([`skyhound_net::tls`]), but by a task and not by
//! questions: reading a large zone takes a second, in which a DNS thread would answer no question. A file is read once
//! it has been the same in two polls, so that an incomplete file that is being written is not loaded.

use super::text::{FileVersion, Files, file_version};
use super::zone::Zone;
use super::{StaticZones, ZoneError, ZoneFile};
use crate::wire;
use hickory_proto::rr::LowerName;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// The interval at which the files are polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// One static zone, its file and its state.
pub(super) struct Source {
    pub spec: ZoneFile,
    inner: Arc<[LowerName]>,
    pub state: Mutex<State>,
}

/// The state of a source.
pub(super) struct State {
    /// The last valid zone.
    pub zone: Arc<Zone>,
    pub loaded: SystemTime,
    /// The problem of the file's current version.
    pub problem: Option<String>,
    /// The files that were read last, with their versions.
    files: Files,
    /// The versions of the same files at the last poll.
    polled: Vec<FileVersion>,
}

impl Source {
    pub(super) fn load(spec: ZoneFile, inner: Arc<[LowerName]>) -> Result<Self, ZoneError> {
        let (zone, files) = read(&spec, &inner);
        let state =
            State { zone: Arc::new(zone?), loaded: SystemTime::now(), problem: None, files, polled: Vec::new() };
        Ok(Self { spec, inner, state: Mutex::new(state) })
    }

    /// Reloads the file if it has changed and is stable. Returns whether there is a new zone.
    fn poll(&self) -> bool {
        let stable = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now: Vec<_> = state.files.iter().map(|(path, _)| file_version(path)).collect();
            let changed = state.files.iter().map(|(_, read)| read).ne(&now);
            let stable = changed && now == state.polled;
            state.polled = now;
            stable
        };
        if !stable {
            return false;
        }
        // Read without the lock, because `/explain` reads the state.
        let (zone, files) = read(&self.spec, &self.inner);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files = files;
        let (zone_name, file) = (&self.spec.name, self.spec.file.display());
        match zone {
            Ok(zone) => {
                info!(zone = %zone_name, %file, serial = zone.serial, records = zone.records, "reloaded a zone file");
                (state.zone, state.loaded, state.problem) = (Arc::new(zone), SystemTime::now(), None);
                true
            }
            Err(error) => {
                warn!(zone = %zone_name, %error, "a zone file is invalid; serving the last valid zone");
                state.problem = Some(error.to_string());
                false
            }
        }
    }
}

/// Reads a zone. Also returns the files that were read.
fn read(spec: &ZoneFile, inner: &Arc<[LowerName]>) -> (Result<Zone, ZoneError>, Files) {
    let mut files = Files::new();
    let origin = wire::from_labels(spec.name.labels().iter());
    (Zone::load(&origin, &spec.file, Arc::clone(inner), &mut files), files)
}

/// The task that reloads zone files. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl StaticZones {
    /// Reloads files when they change, until the result is dropped. It has to be called within a tokio runtime.
    #[must_use = "dropping it stops the reloads"]
    pub fn watch(self: &Arc<Self>) -> Option<Watch> {
        if self.is_empty() {
            return None;
        }
        let zones = Arc::clone(self);
        Some(Watch(tokio::spawn(async move {
            let mut ticks = interval(POLL_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let zones = Arc::clone(&zones);
                if tokio::task::spawn_blocking(move || zones.poll()).await.is_err() {
                    warn!("cannot read the zone files; retrying");
                }
            }
        })))
    }

    /// Polls every file once.
    fn poll(&self) {
        let mut changed = false;
        for source in &self.sources {
            changed |= source.poll();
        }
        if changed {
            self.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::Name;

    const GOOD: &str = "$TTL 60\n@ SOA ns hostmaster 1 1 1 1 1\n@ NS ns\n";

    #[test]
    fn an_invalid_file_keeps_the_last_valid_zone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("z");
        std::fs::write(&file, format!("{GOOD}$INCLUDE inc\n")).unwrap();
        std::fs::write(dir.path().join("inc"), "a A 10.0.0.1\n").unwrap();
        let name = Name::parse("example.test").unwrap();
        let zones = StaticZones::load(&[ZoneFile { name: name.clone(), file: file.clone() }], &[]).unwrap();
        let state = || zones.state(&name).unwrap();
        let poll_until_stable = || (0..3).for_each(|_| zones.poll());
        assert_eq!((state().records, state().problem), (3, None));
        std::fs::write(dir.path().join("inc"), "a A 10.0.0.1\nb A 10.0.0.2\n").unwrap();
        zones.poll();
        assert_eq!(state().records, 3, "the file may be incomplete");
        poll_until_stable();
        assert_eq!((state().records, state().problem), (4, None));
        std::fs::write(dir.path().join("inc"), "a A 10.0.0.300\n").unwrap();
        poll_until_stable();
        assert_eq!(state().records, 4);
        assert!(state().problem.unwrap().contains("inc:1: "));
        std::fs::remove_file(&file).unwrap();
        poll_until_stable();
        assert!(state().problem.unwrap().contains("z cannot be read: "), "{:?}", state());
        std::fs::write(&file, GOOD).unwrap();
        poll_until_stable();
        assert_eq!((state().records, state().problem), (2, None));
    }
}
