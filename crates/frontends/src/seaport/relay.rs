//! What was told, known again when it comes back.
//!
//! The original's client tells, each time it connects, all that it ever heard of, and the original's hub tells what it
//! heard from one peer to all others: nothing in the protocol says whose a service is. So what a hub of ours tells has
//! its keys in one of two orders; JavaScript keeps them. `id` first but not last, and `port` last: the original's client
//! appends `id`, `host` and the role, where its user left them out, and nobody who names all of them begins like this.
//!
//! Owns: the two orders. Does not own: what is made of them (`peer`).

use super::meta::Said;

/// Whose a service is, by the word of a hub of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// It is registered at that hub.
    First,
    /// That hub has it from another one.
    Second,
}

/// The keys in order; `version` may be missing.
const FIRST: [&str; 5] = ["host", "version", "id", "role", "port"];
const SECOND: [&str; 5] = ["id", "version", "host", "role", "port"];

/// As it is told.
pub fn tell(mut said: Said, hand: Hand) -> Said {
    let order = match hand {
        Hand::First => FIRST,
        Hand::Second => SECOND,
    };
    let mut told: Said =
        order.iter().filter_map(|field| Some(((*field).to_owned(), said.shift_remove(*field)?))).collect();
    told.extend(said);
    told
}

/// Whether a hub of ours told this, and how it has it. JavaScript puts keys that are whole numbers first.
pub fn hand(said: &Said) -> Option<Hand> {
    let number = |key: &&str| key.bytes().all(|byte| byte.is_ascii_digit());
    let keys: Vec<_> = said.keys().map(String::as_str).skip_while(number).take(FIRST.len()).collect();
    let is = |order: [&str; 5]| {
        let [first, version, rest @ ..] = order;
        keys.starts_with(&order)
            || (keys.first() == Some(&first) && keys.get(1) != Some(&version) && keys[1..].starts_with(&rest))
    };
    [(FIRST, Hand::First), (SECOND, Hand::Second)].into_iter().find_map(|(order, hand)| is(order).then_some(hand))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(value: Value) -> Said {
        let Value::Object(said) = value else { panic!("{value}") };
        said
    }

    #[test]
    fn what_is_told_is_known_by_its_order() {
        for value in [
            json!({"role": "web", "version": "1.2.3", "host": "h", "port": 80, "id": "A", "zone": "eu"}),
            json!({"zone": 1, "role": "web", "host": "h", "port": 80, "id": "A"}),
        ] {
            for each in [Hand::First, Hand::Second] {
                let told = tell(said(value.clone()), each);
                assert_eq!(told, said(value.clone()), "the same but for its order");
                assert_eq!(hand(&told), Some(each), "{told:?}");
            }
            assert_eq!(hand(&said(value)), None);
        }
        let mut first: Said = said(json!({"0": 1, "12": 2}));
        first.extend(tell(said(json!({"role": "web", "host": "h", "port": 80, "id": "A"})), Hand::First));
        assert_eq!(hand(&first), Some(Hand::First), "as JavaScript has it");
    }

    /// What the original's client says of its own services, however they are registered: it sets `role`, `version` and
    /// `port` where they are missing, and then appends `id` and `host`.
    #[test]
    fn what_a_client_says_of_its_own_is_not_taken_for_told() {
        let fields = ["role", "port", "host", "id", "zone"];
        let mut given: Vec<Vec<&str>> = vec![Vec::new()];
        for length in 0..fields.len() {
            let longer = given.clone().into_iter().filter(|one| one.len() == length).flat_map(|one| {
                fields
                    .iter()
                    .filter(|field| !one.contains(*field))
                    .map(|field| [&one[..], &[*field]].concat())
                    .collect::<Vec<_>>()
            });
            given.extend(longer.collect::<Vec<_>>());
        }
        for mut keys in given.into_iter().filter(|keys| !keys.contains(&"id")) {
            for appended in ["role", "version", "port", "id", "host"] {
                if !keys.contains(&appended) {
                    keys.push(appended);
                }
            }
            let without_version: Vec<_> = keys.iter().copied().filter(|key| *key != "version").collect();
            for keys in [keys, without_version] {
                let own: Said = keys.iter().map(|key| ((*key).to_owned(), json!(1))).collect();
                assert_eq!(hand(&own), None, "{keys:?}");
            }
        }
        for own in [json!({"role": "web"}), json!({}), json!({"host": "h", "id": "A", "port": 80, "role": "web"})] {
            assert_eq!(hand(&said(own.clone())), None, "{own}");
        }
    }
}
