//! The status of a store.

use crate::Revision;

/// The status of a store, as the store reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Kind of the store: `memory`, `disk`, `etcd`.
    pub kind: &'static str,
    /// Version of the store.
    pub version: String,
    /// Current revision.
    pub revision: Revision,
    /// Location: the file, or the member that responded.
    pub location: String,
    /// Member that responded, with its leader; `None` for an embedded store.
    pub member: Option<Member>,
    /// Alarms in the store's own words: etcd's, or the removal of the file.
    pub alarms: Vec<String>,
}

/// A member of an etcd cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Id of the cluster.
    pub cluster_id: u64,
    /// Id of the member that responded.
    pub member_id: u64,
    /// Id of the leader; 0 if there is none.
    pub leader_id: u64,
    /// Raft term of the leader.
    pub raft_term: u64,
}
