//! One static zone: the records of a zone file, and the lookup of a question's records.
//!
//! Owns: the validation of a zone, and the lookup (RFC 1034 section 4.3.2, wildcards of RFC 4592, glue). Does not own:
//! the text ([`super::text`]), parsing and storing the records ([`FileZoneHandler`]).
//!
//! The lookup is not that of [`FileZoneHandler`], which returns referrals without glue, MX and SRV with the addresses
//! of the first target only, applies a wildcard to names that exist, and scans the whole zone for a name that does not.

use super::ZoneError;
use super::text::{Files, Text};
use async_trait::async_trait;
use futures_util::FutureExt;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, RecordSet, RecordType, RrKey, TSigResponseContext};
use hickory_proto::serialize::txt::Parser;
use hickory_server::dnssec::NxProofKind;
use hickory_server::server::{Request, RequestInfo};
use hickory_server::store::file::FileZoneHandler;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AuthLookup, AxfrPolicy, LookupControlFlow, LookupError, LookupOptions, LookupRecords, Nsec3QueryInfo, ZoneHandler,
    ZoneTransfer, ZoneType,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The maximum number of records of one owner and type: about as many as fit into 64 KiB.
const SET_MAX: usize = 4096;
/// The maximum TTL (RFC 2181 section 8).
const TTL_MAX: u32 = 0x7fff_ffff;
/// The maximum number of CNAME records that one answer follows.
const ALIASES_MAX: usize = 8;

type Records = BTreeMap<RrKey, RecordSet>;
type Names = HashMap<LowerName, Vec<Arc<RecordSet>>>;

/// A zone from a file.
pub(super) struct Zone {
    file: FileZoneHandler,
    /// The RRsets of each name. A name without any is between the apex and a name with RRsets (an empty non-terminal).
    names: Names,
    /// The apexes of other zones of this server within this one. Names below them belong to those zones.
    inner: Arc<[LowerName]>,
    pub serial: u32,
    pub records: usize,
}

/// The result of a lookup of one name.
enum Step {
    Set(Arc<RecordSet>),
    Referral(Arc<RecordSet>),
    NoData,
    NxDomain,
    OtherZone,
}

impl Zone {
    /// Loads a zone file. `files` receives every file that was opened, also if one of them is invalid.
    pub(super) fn load(
        origin: &Name,
        path: &Path,
        inner: Arc<[LowerName]>,
        files: &mut Files,
    ) -> Result<Self, ZoneError> {
        let text = Text::read(path, &origin.to_string(), files)?;
        let mut records = parse(&text.whole, origin).map_err(|problem| located(&text, origin, files, problem))?;
        let invalid = |problem: String| ZoneError::Zone { path: path.to_owned(), problem };
        for (rtype, example) in [
            (RecordType::SOA, "@ 3600 IN SOA ns.example. hostmaster.example. 1 7200 1800 86400 300"),
            (RecordType::NS, "@ 3600 IN NS ns.example."),
        ] {
            if !records.contains_key(&RrKey::new(origin.into(), rtype)) {
                return Err(invalid(format!("{origin} has no {rtype} record; add one such as `{example}`")));
            }
        }
        for set in records.values_mut() {
            // All records of an RRset get the same TTL (RFC 2181 section 5.2): the smallest in the file.
            let ttl = set.records_without_rrsigs().map(|record| record.ttl).min().unwrap_or_default();
            set.set_ttl(ttl);
        }
        let count = records.values().map(RecordSet::records_count).sum();
        let in_memory = InMemoryZoneHandler::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny, None)
            .map_err(&invalid)?;
        // The future is ready at once.
        let file = FileZoneHandler::new(in_memory).now_or_never();
        let mut file = file.ok_or_else(|| invalid("cannot be stored".into()))?;
        let mut names = Names::default();
        let mut serial = 0;
        for (key, set) in file.records_get_mut().iter() {
            if let Some(RData::SOA(soa)) = set.record().map(|record| &record.data) {
                serial = soa.serial;
            }
            add(&mut names, origin, &key.name).push(Arc::clone(set));
        }
        for apex in &*inner {
            add(&mut names, origin, apex);
        }
        Ok(Self { file, names, inner, serial, records: count })
    }

    /// The RRsets that answer a question, with aliases followed within the zone. Never waits.
    fn find(&self, name: &LowerName, qtype: RecordType, options: LookupOptions) -> Result<AuthLookup, LookupError> {
        let mut chain: Vec<Arc<RecordSet>> = Vec::new();
        let mut at = name.clone();
        loop {
            match (self.step(&at, qtype), chain.is_empty()) {
                (Step::Set(set), _) => {
                    let target = alias(&set).filter(|_| qtype != RecordType::CNAME);
                    chain.push(set);
                    let seen = |name: &LowerName| chain.iter().any(|set| LowerName::new(set.name()) == *name);
                    match target.filter(|target| chain.len() < ALIASES_MAX && !seen(target)) {
                        Some(target) => at = target,
                        None => break,
                    }
                }
                (Step::Referral(set), true) => {
                    let glue = self.addresses(&set);
                    let glue = (!glue.is_empty()).then(|| LookupRecords::many(options, glue));
                    return Ok(AuthLookup::answers(LookupRecords::new(options, set), glue));
                }
                (Step::NoData, true) => return Err(LookupError::NameExists),
                (Step::NxDomain, true) => return Err(LookupError::from(ResponseCode::NXDomain)),
                (Step::OtherZone, true) => return Err(LookupError::from(ResponseCode::Refused)),
                (_, false) => break,
            }
        }
        let additional = chain.last().map(|set| self.addresses(set)).filter(|sets| !sets.is_empty());
        let additional = additional.map(|sets| LookupRecords::many(options, sets));
        Ok(AuthLookup::answers(LookupRecords::many(options, chain), additional))
    }

    /// Looks up one name without following aliases.
    fn step(&self, name: &LowerName, qtype: RecordType) -> Step {
        let origin = self.file.origin();
        let is_in_other_zone = |apex: &LowerName| apex.zone_of(name) && !(apex == name && qtype == RecordType::DS);
        if !origin.zone_of(name) || self.inner.iter().any(is_in_other_zone) {
            return Step::OtherZone;
        }
        let (full, depth) = (Name::from(name), labels(name));
        for count in labels(origin) + 1..=depth {
            let at = LowerName::from(full.trim_to(count));
            let Some(sets) = self.names.get(&at) else {
                // The closest encloser is the name one label shorter (RFC 4592 section 3.3.1).
                let wildcard = self.names.get(&at.into_wildcard());
                return wildcard.map_or(Step::NxDomain, |sets| pick(sets, qtype, Some(&full)));
            };
            // DS belongs to the parent side of the zone cut (RFC 4035 section 3.1.4.1).
            let is_ds = count == depth && qtype == RecordType::DS;
            if let Some(servers) = set(sets, RecordType::NS).filter(|_| !is_ds) {
                return Step::Referral(Arc::clone(servers));
            }
        }
        self.names.get(name).map_or(Step::NxDomain, |sets| pick(sets, qtype, None))
    }

    /// The addresses of the targets of an RRset, as far as they are in this zone or are its glue.
    fn addresses(&self, rrset: &RecordSet) -> Vec<Arc<RecordSet>> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for record in rrset.records_without_rrsigs() {
            let target = match &record.data {
                RData::NS(name) => &name.0,
                RData::MX(mx) => &mx.exchange,
                RData::SRV(srv) => &srv.target,
                _ => break,
            };
            let target = LowerName::new(target);
            let sets = self.names.get(&target).into_iter().flatten();
            if seen.insert(target) {
                let is_address = |set: &&Arc<RecordSet>| matches!(set.record_type(), RecordType::A | RecordType::AAAA);
                found.extend(sets.filter(is_address).cloned());
            }
        }
        found
    }
}

#[async_trait]
impl ZoneHandler for Zone {
    fn zone_type(&self) -> ZoneType {
        self.file.zone_type()
    }

    fn axfr_policy(&self) -> AxfrPolicy {
        self.file.axfr_policy()
    }

    fn origin(&self) -> &LowerName {
        self.file.origin()
    }

    async fn lookup(
        &self,
        name: &LowerName,
        rtype: RecordType,
        _request_info: Option<&RequestInfo<'_>>,
        lookup_options: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        LookupControlFlow::Continue(match rtype {
            RecordType::ANY | RecordType::AXFR | RecordType::IXFR => Err(LookupError::from(ResponseCode::Refused)),
            rtype => self.find(name, rtype, lookup_options),
        })
    }

    async fn search(
        &self,
        request: &Request,
        lookup_options: LookupOptions,
    ) -> (LookupControlFlow<AuthLookup>, Option<TSigResponseContext>) {
        let info = match request.request_info() {
            Ok(info) => info,
            Err(error) => return (LookupControlFlow::Break(Err(error)), None),
        };
        (self.lookup(info.query.name(), info.query.query_type(), None, lookup_options).await, None)
    }

    async fn zone_transfer(
        &self,
        _request: &Request,
        _lookup_options: LookupOptions,
        _now: u64,
    ) -> Option<(Result<ZoneTransfer, LookupError>, Option<TSigResponseContext>)> {
        Some((Err(LookupError::from(ResponseCode::Refused)), None))
    }

    async fn nsec_records(&self, name: &LowerName, options: LookupOptions) -> LookupControlFlow<AuthLookup> {
        self.file.nsec_records(name, options).await
    }

    async fn nsec3_records(&self, info: Nsec3QueryInfo<'_>, options: LookupOptions) -> LookupControlFlow<AuthLookup> {
        self.file.nsec3_records(info, options).await
    }

    fn nx_proof_kind(&self) -> Option<&NxProofKind> {
        self.file.nx_proof_kind()
    }
}

/// The number of labels of a name: without the root's, with a wildcard's.
pub(crate) fn labels(name: &LowerName) -> usize {
    Name::from(name).iter().len()
}

fn set(sets: &[Arc<RecordSet>], rtype: RecordType) -> Option<&Arc<RecordSet>> {
    sets.iter().find(|set| set.record_type() == rtype)
}

/// The RRset of a type at a name, or its alias. `synthesised` is the name for which a wildcard is expanded.
fn pick(sets: &[Arc<RecordSet>], qtype: RecordType, synthesised: Option<&Name>) -> Step {
    let found = set(sets, qtype).or_else(|| set(sets, RecordType::CNAME));
    match (found, synthesised) {
        (None, _) => Step::NoData,
        (Some(found), None) => Step::Set(Arc::clone(found)),
        (Some(found), Some(name)) => {
            let mut set = RecordSet::with_ttl(name.clone(), found.record_type(), found.ttl());
            for record in found.records_without_rrsigs() {
                set.add_rdata(record.data.clone());
            }
            Step::Set(Arc::new(set))
        }
    }
}

fn alias(set: &RecordSet) -> Option<LowerName> {
    match set.record().map(|record| &record.data) {
        Some(RData::CNAME(target)) => Some(LowerName::new(&target.0)),
        _ => None,
    }
}

/// Returns the RRsets of a name, and adds the names between it and the apex, which exist then (RFC 4592 section 2.2.2).
fn add<'n>(names: &'n mut Names, origin: &Name, name: &LowerName) -> &'n mut Vec<Arc<RecordSet>> {
    let full = Name::from(name);
    for count in origin.iter().len()..full.iter().len() {
        names.entry(LowerName::from(full.trim_to(count))).or_default();
    }
    names.entry(name.clone()).or_default()
}

/// Parses entries. The error is the problem of the text, or of a record that no zone of this name may contain.
fn parse(text: &str, origin: &Name) -> Result<Records, String> {
    let (_, records) = Parser::new(text, None, Some(origin.clone())).parse().map_err(|error| {
        let text = error.to_string();
        match text.as_str() {
            "record ttl not specified" => "there is no TTL; write one, or $TTL above the first record".into(),
            "record name not specified" => "there is no owner; write one, or @ for the zone's own name".into(),
            _ => text,
        }
    })?;
    let mut aliases = HashSet::new();
    for (key, set) in &records {
        let (name, rtype) = (set.name(), set.record_type());
        if !origin.zone_of(name) {
            return Err(format!("{name} is not in the zone {origin}; write names in full with a dot at their end"));
        }
        if set.records_without_rrsigs().any(|record| record.dns_class != DNSClass::IN) {
            return Err(format!("{name} {rtype} is of another class than IN"));
        }
        if set.records_without_rrsigs().any(|record| record.ttl > TTL_MAX) {
            return Err(format!("{name} {rtype} has a TTL over {TTL_MAX} seconds"));
        }
        if rtype == RecordType::SOA && name != origin {
            return Err(format!("{name} has a SOA, and the zone is {origin}; give it a --zone of its own"));
        }
        if set.records_count() > SET_MAX {
            return Err(format!("{name} has more than {SET_MAX} {rtype} records, the limit of an answer"));
        }
        if rtype == RecordType::CNAME {
            aliases.insert(key.name.clone());
        }
    }
    let conflict = records.keys().find(|key| key.record_type != RecordType::CNAME && aliases.contains(&key.name));
    match conflict {
        Some(key) => Err(format!("{} has a CNAME and other records (RFC 1034 section 3.6.2); keep one", key.name)),
        None => Ok(records),
    }
}

/// Returns the error with its file and line: those of the last entry of the shortest text that has a problem.
fn located(text: &Text, origin: &Name, files: &Files, problem: String) -> ZoneError {
    let fails = |count: usize| parse(&text.whole[..text.entries[count].end], origin).err();
    let (mut low, mut high) = (0, text.entries.len().saturating_sub(1));
    while low < high {
        let middle = low.midpoint(high);
        if fails(middle).is_some() { high = middle } else { low = middle + 1 }
    }
    let problem = if text.entries.is_empty() { problem } else { fails(low).unwrap_or(problem) };
    let (file, line) = text.entries.get(low).map_or((0, 1), |entry| (entry.file, entry.line));
    ZoneError::Line { path: files.get(file).map(|(path, _)| path.clone()).unwrap_or_default(), line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "$TTL 60\n@ SOA ns hostmaster 7 7200 1800 86400 300\n@ NS ns\nns A 10.0.0.53\n";

    fn load(content: &str) -> Result<Zone, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("z");
        std::fs::write(&path, content).unwrap();
        let inner = Arc::new([LowerName::new(&Name::from_ascii("in.deep.example.test.").unwrap())]);
        let zone = Zone::load(&Name::from_ascii("example.test.").unwrap(), &path, inner, &mut Vec::new());
        zone.map_err(|error| error.to_string().replace(&path.display().to_string(), "z"))
    }

    fn lookup_lines(zone: &Zone, name: &str, rtype: RecordType) -> Vec<String> {
        let name = LowerName::new(&Name::from_ascii(format!("{name}.example.test.")).unwrap());
        match zone.find(&name, rtype, LookupOptions::default()) {
            Ok(found) => {
                let additional = found.additionals().into_iter().flatten().map(|record| format!("+{record}"));
                found.iter().map(ToString::to_string).chain(additional).collect()
            }
            Err(error) => vec![format!("{error:?}")],
        }
    }

    #[test]
    fn lookups_follow_rfc_1034_and_4592() {
        let zone = load(&format!(
            "{HEAD}* MX 10 ns\nwww A 10.0.0.1\nalias CNAME www\nx.y TXT t\nloop CNAME pool\npool CNAME loop\n\
             *.w CNAME www\nsub NS a.sub\nsub NS ns\na.sub A 10.0.0.2\na.sub AAAA ::2\nsub DS 1 13 2 {}\n\
             mail MX 1 www\nmail MX 2 a.sub\nout CNAME x.in.deep\n",
            "00".repeat(32)
        ))
        .unwrap();
        let assert_lookup =
            |name: &str, rtype, lines: &[&str]| assert_eq!(lookup_lines(&zone, name, rtype), lines, "{name} {rtype}");
        assert_lookup("www", RecordType::A, &["www.example.test. 60 IN A 10.0.0.1"]);
        assert_lookup("www", RecordType::MX, &["NameExists"]);
        assert_lookup(
            "nosuch",
            RecordType::MX,
            &["nosuch.example.test. 60 IN MX 10 ns.example.test.", "+ns.example.test. 60 IN A 10.0.0.53"],
        );
        assert_lookup("a.b", RecordType::A, &["NameExists"]);
        assert_lookup("y", RecordType::MX, &["NameExists"]);
        assert_lookup("z.y", RecordType::MX, &["ResponseCode(NXDomain)"]);
        assert_lookup(
            "alias",
            RecordType::A,
            &["alias.example.test. 60 IN CNAME www.example.test.", "www.example.test. 60 IN A 10.0.0.1"],
        );
        assert_lookup("alias", RecordType::CNAME, &["alias.example.test. 60 IN CNAME www.example.test."]);
        assert_lookup(
            "q.w",
            RecordType::A,
            &["q.w.example.test. 60 IN CNAME www.example.test.", "www.example.test. 60 IN A 10.0.0.1"],
        );
        assert_eq!(lookup_lines(&zone, "loop", RecordType::A).len(), 2);
        let referral = [
            "sub.example.test. 60 IN NS a.sub.example.test.",
            "sub.example.test. 60 IN NS ns.example.test.",
            "+a.sub.example.test. 60 IN A 10.0.0.2",
            "+a.sub.example.test. 60 IN AAAA ::2",
            "+ns.example.test. 60 IN A 10.0.0.53",
        ];
        assert_lookup("b.a.sub", RecordType::TXT, &referral);
        assert_lookup("sub", RecordType::NS, &referral);
        assert!(lookup_lines(&zone, "sub", RecordType::DS)[0].contains(" DS 1 "));
        assert_eq!(lookup_lines(&zone, "mail", RecordType::MX).len(), 5);
        // Another zone begins at in.deep.
        assert_lookup("deep", RecordType::MX, &["NameExists"]);
        assert_lookup("in.deep", RecordType::DS, &["NameExists"]);
        assert_lookup("in.deep", RecordType::MX, &["ResponseCode(Refused)"]);
        assert_lookup("out", RecordType::MX, &["out.example.test. 60 IN CNAME x.in.deep.example.test."]);
    }

    #[test]
    fn rrset_has_one_ttl() {
        let zone = load(&format!("{HEAD}a 30 A 10.0.0.1\na 20 A 10.0.0.2\n")).unwrap();
        assert!(lookup_lines(&zone, "a", RecordType::A).iter().all(|line| line.contains(" 20 IN A ")));
        assert_eq!((zone.serial, zone.records), (7, 5));
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        for (rest, problem) in [
            ("a A 10.0.0.300\nb A 1\n", "z:5: "),
            ("\na.other.test. A 10.0.0.1\n", "z:6: a.other.test. is not in the zone example.test.; write names"),
            ("a A 10.0.0.1\na CNAME b\n", "z:6: a.example.test. has a CNAME and other records"),
            ("a 2147483648 A 10.0.0.1\n", "z:5: a.example.test. A has a TTL over"),
            ("a CH A 10.0.0.1\n", "z:5: a.example.test. A is of another class"),
            ("a SOA ns hostmaster 7 1 1 1 1\n", "z:5: a.example.test. has a SOA"),
            ("a TYPE65000 \\# 0\n", "z:5: "),
            ("a NOTYPE x\n", "z:5: "),
        ] {
            let error = load(&format!("{HEAD}{rest}")).err().unwrap_or_default();
            assert!(error.starts_with(problem), "{rest:?}: {error:?}");
        }
        for (content, problem) in [
            ("", "z: example.test. has no SOA record; add one"),
            ("@ 60 SOA ns h 1 1 1 1 1\n", "z: example.test. has no NS record; add one"),
            ("@ A 10.0.0.1\n", "z:1: there is no TTL; write one, or $TTL"),
            (" 60 A 10.0.0.1\n", "z:1: there is no owner"),
        ] {
            let error = load(content).err().unwrap_or_default();
            assert!(error.starts_with(problem), "{content:?}: {error:?}");
        }
    }
}
