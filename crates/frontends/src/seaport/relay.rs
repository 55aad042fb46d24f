//! What was told, known again when it comes back.
//!
//! The original's client tells, each time it connects, all that it ever heard of, and the original's hub tells what it
//! heard from one peer to all others: nothing in the protocol says whose a service is. So what a hub of ours tells has
//! its keys in one of two orders; JavaScript keeps them. `id` first but not last, and `port` last: the original's client
//! appends `id`, `host` and the role, where its user left them out, and nobody who names all of them begins like this.
//!
//! Owns: the two orders. Does not own: what is made of them (`peer`).

use super::meta::ServiceMeta;

/// Whose a service is, by the word of a hub of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayOrigin {
    /// It is registered at that hub.
    Registered,
    /// That hub has it from another one.
    Relayed,
}

/// The keys in order; `version` may be missing.
const REGISTERED_ORDER: [&str; 5] = ["host", "version", "id", "role", "port"];
const RELAYED_ORDER: [&str; 5] = ["id", "version", "host", "role", "port"];

/// As it is told.
pub fn with_order(mut meta: ServiceMeta, origin: RelayOrigin) -> ServiceMeta {
    let order = match origin {
        RelayOrigin::Registered => REGISTERED_ORDER,
        RelayOrigin::Relayed => RELAYED_ORDER,
    };
    let mut ordered: ServiceMeta =
        order.iter().filter_map(|field| Some(((*field).to_owned(), meta.shift_remove(*field)?))).collect();
    ordered.extend(meta);
    ordered
}

/// Whether a hub of ours told this, and how it has it. JavaScript puts keys that are whole numbers first.
pub fn origin(meta: &ServiceMeta) -> Option<RelayOrigin> {
    let number = |key: &&str| key.bytes().all(|byte| byte.is_ascii_digit());
    let keys: Vec<_> = meta.keys().map(String::as_str).skip_while(number).take(REGISTERED_ORDER.len()).collect();
    let is = |order: [&str; 5]| {
        let [first, version, rest @ ..] = order;
        keys.starts_with(&order)
            || (keys.first() == Some(&first) && keys.get(1) != Some(&version) && keys[1..].starts_with(&rest))
    };
    [(REGISTERED_ORDER, RelayOrigin::Registered), (RELAYED_ORDER, RelayOrigin::Relayed)]
        .into_iter()
        .find_map(|(order, origin)| is(order).then_some(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn to_meta(value: Value) -> ServiceMeta {
        let Value::Object(meta) = value else { panic!("{value}") };
        meta
    }

    #[test]
    fn field_order_identifies_relayed_services() {
        for value in [
            json!({"role": "web", "version": "1.2.3", "host": "h", "port": 80, "id": "A", "zone": "eu"}),
            json!({"zone": 1, "role": "web", "host": "h", "port": 80, "id": "A"}),
        ] {
            for each in [RelayOrigin::Registered, RelayOrigin::Relayed] {
                let ordered = with_order(to_meta(value.clone()), each);
                assert_eq!(ordered, to_meta(value.clone()), "the same but for its order");
                assert_eq!(origin(&ordered), Some(each), "{ordered:?}");
            }
            assert_eq!(origin(&to_meta(value)), None);
        }
        let mut first: ServiceMeta = to_meta(json!({"0": 1, "12": 2}));
        first.extend(with_order(
            to_meta(json!({"role": "web", "host": "h", "port": 80, "id": "A"})),
            RelayOrigin::Registered,
        ));
        assert_eq!(origin(&first), Some(RelayOrigin::Registered), "as JavaScript has it");
    }

    /// What the original's client says of its own services, however they are registered: it sets `role`, `version` and
    /// `port` where they are missing, and then appends `id` and `host`.
    #[test]
    fn a_clients_own_service_is_not_taken_for_relayed() {
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
                let own: ServiceMeta = keys.iter().map(|key| ((*key).to_owned(), json!(1))).collect();
                assert_eq!(origin(&own), None, "{keys:?}");
            }
        }
        for own in [json!({"role": "web"}), json!({}), json!({"host": "h", "id": "A", "port": 80, "role": "web"})] {
            assert_eq!(origin(&to_meta(own.clone())), None, "{own}");
        }
    }
}
