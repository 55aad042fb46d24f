//! The vectors as they stand in `cases/`: what is stored, what is asked, what is expected.

use data_encoding::BASE64;
use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::dnssec::{Algorithm, PublicKeyBuf};
use serde::Deserialize;
use serde_json::Value;
use skyhound_dns::dnssec::key::{NewKey, ZoneKey};
use skyhound_model::Name;
use std::collections::BTreeMap;
use std::path::Path;

/// One record set with its questions.
#[derive(Debug, Deserialize)]
pub struct File {
    #[serde(skip)]
    pub name: String,
    pub zones: Vec<String>,
    #[serde(default)]
    pub records: Vec<Stored>,
    #[serde(default)]
    pub record_templates: Vec<Template>,
    /// The records of the upstream; without them there is no upstream.
    pub upstream: Option<Vec<Rr>>,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    zone_key: Option<KeyFields>,
    /// A key of ours in place of `zone_key`.
    #[serde(skip)]
    pub key: Option<NewKey>,
    pub cases: Vec<Case>,
}

/// The key that a file's cases are signed with. Its private part is not in the file.
#[derive(Debug, Deserialize)]
struct KeyFields {
    owner: String,
    flags: u16,
    algorithm: u8,
    key_tag: u16,
}

/// A key with its value.
#[derive(Debug, Deserialize)]
pub struct Stored {
    pub key: String,
    pub value: Option<Value>,
    /// Instead of `value`, the bytes as they are.
    pub raw: Option<String>,
    /// Seconds.
    pub lease: Option<u64>,
}

/// Many alike.
#[derive(Debug, Deserialize)]
pub struct Template {
    pub count: usize,
    #[serde(default)]
    pub from: usize,
    pub key: String,
    pub value: Value,
}

/// A question and its answer.
#[allow(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "the fields are those of the data")]
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub id: String,
    pub qname: String,
    pub qtype: String,
    pub qclass: Option<String>,
    pub rcode: String,
    #[serde(default)]
    pub accept_rcodes: Vec<String>,
    pub answer: Option<Vec<Rr>>,
    pub authority: Option<Vec<Rr>>,
    pub additional: Option<Vec<Rr>>,
    pub order_matters: bool,
    #[serde(default)]
    pub exact_count: bool,
    #[serde(default)]
    pub echo_case: bool,
    #[serde(default)]
    pub count: BTreeMap<String, usize>,
    #[serde(default)]
    pub min_count: BTreeMap<String, usize>,
    #[serde(default)]
    pub flags: BTreeMap<String, bool>,
    /// The EDNS size that is asked with; 0 for none.
    pub edns: Option<u16>,
    #[serde(default, rename = "do")]
    pub dnssec_ok: bool,
    pub tc: Option<bool>,
    pub compare: Option<String>,
    pub transport: Option<String>,
    #[serde(default = "once")]
    pub repeat: usize,
    #[serde(default)]
    pub needs_upstream: bool,
    #[serde(default)]
    pub needs_no_upstream: bool,
}

fn once() -> usize {
    1
}

/// A record, as far as it is fixed.
#[derive(Debug, Clone, Deserialize)]
pub struct Rr {
    pub name: String,
    #[serde(rename = "type")]
    pub rtype: String,
    pub ttl: Option<u32>,
    pub ttl_range: Option<(u32, u32)>,
    pub rdata: Option<String>,
    #[serde(default)]
    pub fields: BTreeMap<String, Value>,
}

/// One matter in which the originals differ, or ours does better than both.
#[derive(Debug, Deserialize)]
pub struct Choice {
    pub matter: String,
    pub ours: String,
    pub reason: String,
    /// Each case that is answered otherwise: the case of the same question that is right instead, or the
    /// fields of the case that ours changes.
    pub cases: BTreeMap<String, Value>,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns/conformance"))
}

/// All files, in the order of their names.
pub fn files() -> Vec<File> {
    let mut paths: Vec<_> = std::fs::read_dir(folder().join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut file: File = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.name = path.file_stem().unwrap().to_string_lossy().into_owned();
        file.key = file.zone_key.as_ref().map(key);
        let mut cases = std::mem::take(&mut file.cases);
        for case in &mut cases {
            file.signed_by_ours(case);
        }
        file.cases = cases;
        file
    };
    paths.iter().map(read).collect()
}

/// A new key with the same flags.
fn key(fields: &KeyFields) -> NewKey {
    let zone = Name::parse(&fields.owner).unwrap();
    let mut key = ZoneKey::generate(&zone, Algorithm::ECDSAP256SHA256).unwrap();
    // The flags are part of the tag, which the daemon computes from the record and not from the file's name.
    key.public = key.public.replace("DNSKEY 257 ", &format!("DNSKEY {} ", fields.flags));
    key
}

impl File {
    /// Replaces key tag and algorithm of the signatures by those of our key; nothing else differs.
    fn signed_by_ours(&self, case: &mut Case) {
        let (Some(original), Some(ours)) = (&self.zone_key, &self.key) else { return };
        let record = ours.public.lines().find(|line| !line.starts_with(';')).unwrap();
        let base64 = record.split(' ').next_back().unwrap();
        let public = PublicKeyBuf::new(BASE64.decode(base64.as_bytes()).unwrap(), Algorithm::ECDSAP256SHA256);
        let tag = DNSKEY::with_flags(original.flags, public).calculate_key_tag().unwrap();
        let sections = [&mut case.answer, &mut case.authority, &mut case.additional];
        for rr in sections.into_iter().flatten().flatten().filter(|rr| rr.rtype != "NSEC3") {
            for (field, original, ours) in [
                ("algorithm", u64::from(original.algorithm), u64::from(u8::from(Algorithm::ECDSAP256SHA256))),
                ("key_tag", u64::from(original.key_tag), u64::from(tag)),
            ] {
                if let Some(value) = rr.fields.get_mut(field) {
                    assert_eq!(*value, original, "{}: another {field} than zone_key has", case.id);
                    *value = ours.into();
                }
            }
        }
    }
}

/// All choices.
pub fn choices() -> Vec<Choice> {
    serde_json::from_str(&std::fs::read_to_string(folder().join("choices.json")).unwrap()).unwrap()
}

impl Case {
    /// The same case with some of its fields changed.
    pub fn changed(id: &str, file: &File, fields: &Value) -> Self {
        let path = folder().join("cases").join(format!("{}.json", file.name));
        let whole: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = whole["cases"].as_array().unwrap();
        let mut case = cases.iter().find(|case| case["id"] == id).unwrap().clone();
        for (name, value) in fields.as_object().expect("an object of fields") {
            case[name] = value.clone();
        }
        case["id"] = Value::from(format!("{id} (ours)"));
        let mut case = serde_json::from_value(case).unwrap();
        file.signed_by_ours(&mut case);
        case
    }
}
