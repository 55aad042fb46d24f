//! Static zones: zones from files (`--zone NAME=FILE`), in addition to the dynamic zones of the store.
//!
//! ```text
//! file ─▶ text ─▶ zone (hickory's parser and FileZoneHandler) ─▶ hickory's Catalog ─▶ answer
//!           ▲                                                    └ reload replaces it
//! ```
//! Owns: the zones, their files and their state. Does not own: the choice between static and dynamic zones, and the answers
//! (`static_answer`), so that the settings can hold the zones without an import of the rules.

mod reload;
mod text;
mod zone;

pub use reload::Watch;
pub use text::ZONE_MAX;

use super::wire;
use arc_swap::ArcSwap;
use hickory_proto::rr::LowerName;
use hickory_server::zone_handler::{Catalog, ZoneHandler};
use reload::{Source, State};
use skyhound_model::Name;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
pub(crate) use zone::labels;

/// A static zone and its file, in the form of the flag: `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFile {
    /// The zone.
    pub name: Name,
    /// Its zone file.
    pub file: PathBuf,
}

impl std::str::FromStr for ZoneFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is no NAME=FILE such as example.com=/etc/skyhound/example.com.zone");
        let (name, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(form)?;
        let name = Name::parse(name).map_err(|error| format!("{name:?} {error}"))?;
        Ok(Self { name, file: file.into() })
    }
}

/// An error of a static zone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// A file cannot be read. The text contains the reason, which is therefore no source.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// An entry of a file is invalid.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line on which the entry begins.
        line: usize,
        /// The problem and the remedy.
        problem: String,
    },
    /// A file as a whole is invalid.
    #[error("{}: {problem}", path.display())]
    Zone {
        /// The file.
        path: PathBuf,
        /// The problem and the remedy.
        problem: String,
    },
    /// Two zones have one name.
    #[error("{name} with the file {} is also {other}; remove one of them", file.display())]
    Conflict {
        /// The zone.
        name: Name,
        /// Its file.
        file: PathBuf,
        /// The other setting.
        other: String,
    },
}

/// The static zones, each from the last valid version of its file.
#[derive(Default)]
pub struct StaticZones {
    sources: Vec<Source>,
    pub(super) catalog: ArcSwap<Catalog>,
}

/// The state of one static zone, for `/explain`.
#[derive(Debug)]
pub struct ZoneState {
    /// The zone.
    pub name: Name,
    /// Its file.
    pub file: PathBuf,
    /// The serial of its SOA.
    pub serial: u32,
    /// The number of its records.
    pub records: usize,
    /// The time at which it was loaded.
    pub loaded: SystemTime,
    /// The problem of the file's current version, if it is invalid; the zone is the last valid one then.
    pub problem: Option<String>,
}

impl StaticZones {
    /// Loads the files. `dynamic` are the zones from the store.
    pub fn load(files: &[ZoneFile], dynamic: &[Name]) -> Result<Arc<Self>, ZoneError> {
        let mut sources: Vec<Source> = Vec::new();
        for (index, ZoneFile { name, file }) in files.iter().enumerate() {
            let duplicate = files[..index].iter().find(|other| other.name == *name);
            let other = match duplicate {
                _ if dynamic.contains(name) => Some(format!("the dynamic zone --dns-root {name}")),
                Some(other) => Some(format!("--zone with the file {}", other.file.display())),
                None => None,
            };
            if let Some(other) = other {
                return Err(ZoneError::Conflict { name: name.clone(), file: file.clone(), other });
            }
            let others = files.iter().map(|other| &other.name).chain(dynamic);
            let inner: Arc<[_]> =
                others.filter(|other| *other != name && other.is_within(name)).map(lower_name).collect();
            sources.push(Source::load(ZoneFile { name: name.clone(), file: file.clone() }, inner)?);
        }
        let zones = Self { sources, catalog: ArcSwap::default() };
        zones.publish();
        Ok(Arc::new(zones))
    }

    /// Returns whether there are no static zones.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The names of the zones.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.sources.iter().map(|source| &source.spec.name)
    }

    /// Returns whether a static zone is below a name.
    pub(super) fn is_empty_non_terminal(&self, name: &Name) -> bool {
        self.names().any(|zone| zone != name && zone.is_within(name))
    }

    /// The state of the zone with this name.
    pub fn state(&self, name: &Name) -> Option<ZoneState> {
        let source = self.sources.iter().find(|source| source.spec.name == *name)?;
        let State { zone, loaded, problem, .. } = &*source.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ZoneState {
            name: name.clone(),
            file: source.spec.file.clone(),
            serial: zone.serial,
            records: zone.records,
            loaded: *loaded,
            problem: problem.clone(),
        })
    }

    /// Replaces the catalog by the current zones.
    fn publish(&self) {
        let mut catalog = Catalog::new();
        for source in &self.sources {
            let zone = Arc::clone(&source.state.lock().unwrap_or_else(PoisonError::into_inner).zone);
            catalog.upsert(zone.origin().clone(), vec![zone]);
        }
        self.catalog.store(Arc::new(catalog));
    }
}

impl std::fmt::Debug for StaticZones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sources.iter().map(|source| &source.spec)).finish()
    }
}

/// Compares the names and files of the zones, not their contents.
impl PartialEq for StaticZones {
    fn eq(&self, other: &Self) -> bool {
        self.sources.iter().map(|source| &source.spec).eq(other.sources.iter().map(|source| &source.spec))
    }
}

impl Eq for StaticZones {}

/// A name of the tree in the form of hickory's catalog.
pub(super) fn lower_name(name: &Name) -> LowerName {
    LowerName::new(&wire::from_labels(name.labels().iter()))
}
