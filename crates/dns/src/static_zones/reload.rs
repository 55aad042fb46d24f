//! Reading zone files again when they change.
//!
//! Owns: when a file is read, and which zone stays in use when it is invalid. Does not own: what is valid
//! ([`super::zone`]).
//!
//! Times of change and lengths are compared, as for certificates ([`skyhound_net::tls`]), but by a task and not by
//! questions: reading a large zone takes a second, in which a thread of DNS would answer nobody. A file is read once it
//! has stayed the same between two looks, so that one that is being written is not taken for a short one.

use super::text::{Files, Written, written};
use super::zone::Zone;
use super::{StaticZones, ZoneError, ZoneFile};
use crate::wire;
use hickory_proto::rr::LowerName;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One static zone.
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
    /// The problem of the file as it is now.
    pub problem: Option<String>,
    /// The files that were read last.
    files: Files,
    /// The same files at the last look.
    seen: Vec<Written>,
}

impl Source {
    pub(super) fn load(spec: ZoneFile, inner: Arc<[LowerName]>) -> Result<Self, ZoneError> {
        let (zone, files) = read(&spec, &inner);
        let state = State { zone: Arc::new(zone?), loaded: SystemTime::now(), problem: None, files, seen: Vec::new() };
        Ok(Self { spec, inner, state: Mutex::new(state) })
    }

    /// Reads the file again if it has changed. Returns whether there is a new zone.
    fn look(&self) -> bool {
        let stable = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now: Vec<_> = state.files.iter().map(|(path, _)| written(path)).collect();
            let changed = state.files.iter().map(|(_, read)| read).ne(&now);
            let stable = changed && now == state.seen;
            state.seen = now;
            stable
        };
        if !stable {
            return false;
        }
        // Without the lock: `/explain` reads the state.
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

/// Reads a zone. Returns the files that were read, too.
fn read(spec: &ZoneFile, inner: &Arc<[LowerName]>) -> (Result<Zone, ZoneError>, Files) {
    let mut files = Files::new();
    let origin = wire::from_labels(spec.name.labels().iter());
    (Zone::load(&origin, &spec.file, Arc::clone(inner), &mut files), files)
}

/// The task that reads zone files again. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl StaticZones {
    /// Reads files again when they change, until the result is dropped. Call it within a tokio runtime.
    #[must_use = "dropping it ends the watch"]
    pub fn watch(self: &Arc<Self>) -> Option<Watch> {
        if self.is_empty() {
            return None;
        }
        let zones = Arc::clone(self);
        Some(Watch(tokio::spawn(async move {
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let zones = Arc::clone(&zones);
                if tokio::task::spawn_blocking(move || zones.look()).await.is_err() {
                    warn!("reading zone files failed; they are looked at again");
                }
            }
        })))
    }

    /// Looks at every file once.
    fn look(&self) {
        let mut changed = false;
        for source in &self.sources {
            changed |= source.look();
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
        let settle = || (0..3).for_each(|_| zones.look());
        assert_eq!((state().records, state().problem), (3, None));
        std::fs::write(dir.path().join("inc"), "a A 10.0.0.1\nb A 10.0.0.2\n").unwrap();
        zones.look();
        assert_eq!(state().records, 3, "it may still be written");
        settle();
        assert_eq!((state().records, state().problem), (4, None));
        std::fs::write(dir.path().join("inc"), "a A 10.0.0.300\n").unwrap();
        settle();
        assert_eq!(state().records, 4);
        assert!(state().problem.unwrap().contains("inc:1: "));
        std::fs::remove_file(&file).unwrap();
        settle();
        assert!(state().problem.unwrap().contains("z cannot be read: "), "{:?}", state());
        std::fs::write(&file, GOOD).unwrap();
        settle();
        assert_eq!((state().records, state().problem), (2, None));
    }
}
