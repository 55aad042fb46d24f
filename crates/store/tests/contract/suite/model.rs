//! A model test: random commits on the store and on a plain map.

use super::{Bed, LEASE_TTL, apply, read_up_to};
use skyhound_model::Key;
use skyhound_store::{Expect, Guard, Item, LeaseId, Op, Outcome, Revision, Write};
use std::collections::BTreeMap;

/// The reference implementation of commits.
#[derive(Default)]
struct Model {
    items: BTreeMap<Key, Item>,
}

impl Model {
    fn holds(&self, guard: &Guard) -> bool {
        let item = self.items.get(&guard.key);
        match guard.expect {
            Expect::AtRevision(revision) => item.is_some_and(|item| item.revision == revision),
            Expect::NotAfter(revision) => item.is_none_or(|item| item.revision <= revision),
            Expect::OnLease(lease) => item.is_some_and(|item| item.lease == Some(lease)),
        }
    }

    fn outcomes(&self, writes: &[Write]) -> Vec<Outcome> {
        let holds = |write: &Write| write.guards.iter().all(|guard| self.holds(guard));
        writes.iter().map(|write| if holds(write) { Outcome::Done } else { Outcome::Refused }).collect()
    }

    fn apply(&mut self, writes: Vec<Write>, outcomes: &[Outcome], revision: Revision) {
        let done = writes.into_iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
        for op in done.flat_map(|(write, _)| write.ops) {
            match op {
                Op::Put { key, value, lease } => {
                    self.items.insert(key.clone(), Item { key, value, revision, lease });
                }
                Op::Delete { key } => {
                    self.items.remove(&key);
                }
            }
        }
    }
}

/// Returns up to five writes over ten names; each guard is as likely to hold as not.
fn random_writes(bed: &Bed, random: &mut fastrand::Rng, model: &Model, leases: &[LeaseId]) -> Vec<Write> {
    let mut names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    random.shuffle(&mut names);
    let count = random.usize(1..=5);
    let mut writes = vec![Write::default(); count];
    for name in names.drain(..random.usize(1..=names.len())) {
        let write = &mut writes[random.usize(..count)];
        write.ops.push(match random.u8(..4) {
            0 => bed.delete(&name),
            1 => bed.put_on(leases[random.usize(..leases.len())], &name, random.u32(..).to_string()),
            _ => bed.put(&name, random.u32(..).to_string()),
        });
    }
    for write in &mut writes {
        if random.bool() {
            continue;
        }
        let key = bed.key(random.usize(..10).to_string());
        let current = model.items.get(&key).map_or(Revision(0), |item| item.revision);
        let expect = match random.u8(..5) {
            0 => Expect::AtRevision(current),
            1 => Expect::AtRevision(Revision(current.0 + 1)),
            2 => Expect::NotAfter(current),
            3 => Expect::NotAfter(Revision(current.0.saturating_sub(1))),
            _ => Expect::OnLease(leases[random.usize(..leases.len())]),
        };
        write.guards.push(Guard { key, expect });
    }
    writes
}

pub(crate) async fn random_commits_agree_with_a_plain_map(bed: Bed) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bed.store.grant(LEASE_TTL * 60).await.unwrap());
    }
    let mut feed = bed.feed(bed.list().await.revision).await;
    let mut model = Model::default();
    let mut last = Revision(0);
    for round in 0..200 {
        if round % 40 == 39 {
            let lease = std::mem::replace(&mut leases[0], bed.store.grant(LEASE_TTL * 60).await.unwrap());
            bed.store.revoke(lease).await.unwrap();
            model.items.retain(|_, item| item.lease != Some(lease));
        }
        let writes = random_writes(&bed, &mut random, &model, &leases);
        let expected = model.outcomes(&writes);
        let commit = bed.store.commit(writes.clone()).await.unwrap();
        assert_eq!(commit.outcomes, expected, "round {round}: {writes:?}");
        model.apply(writes, &commit.outcomes, commit.revision);
        last = last.max(commit.revision);
        if round % 10 == 0 {
            let items: Vec<_> = model.items.values().cloned().collect();
            assert_eq!(bed.list().await.items, items, "round {round}");
        }
    }
    // A last change marks the end of the feed.
    let end = bed.commit([bed.put("end", "")]).await;
    let mut copy = BTreeMap::new();
    for batch in read_up_to(&mut feed, end).await {
        apply(&mut copy, &batch);
    }
    assert_eq!(copy.into_values().collect::<Vec<_>>(), bed.list().await.items);
    for lease in leases {
        bed.store.revoke(lease).await.unwrap();
    }
}
