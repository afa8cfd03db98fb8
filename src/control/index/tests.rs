use super::*;
use crate::model::rules::Counts;
use crate::model::state::{Connection, DecidedBy};
use crate::model::{Caller, PrivateEndpoint};
use crate::testing::{self, key, noon};

const STATES: [ConnectionState; 4] =
    [ConnectionState::Pending, ConnectionState::Approved, ConnectionState::Rejected, ConnectionState::Disconnected];

/// One random change of one endpoint: gone, or made or changed in any of its parts that are listed by.
fn change(random: &mut fastrand::Rng, template: &PrivateEndpoint, state: &mut ControlState, one: &Key) {
    if random.u8(..4) == 0 {
        state.model.endpoints.remove(one);
        state.connections.remove(one);
        return;
    }
    let place = |what: &str, random: &mut fastrand::Rng| key(&format!("{what}-{}", random.u8(..3)));
    let endpoint =
        PrivateEndpoint { vnet: place("vnet", random), resource: place("resource", random), ..template.clone() };
    state.model.endpoints.insert(one.clone(), endpoint);
    let connection = Connection {
        link: 1,
        state: STATES[random.usize(..4)],
        description: String::new(),
        decided_by: DecidedBy::Nobody,
        decided_at: noon(),
        ends_at: random.bool().then(|| noon() + jiff::Span::new().seconds(random.i64(0..20))),
        created_at: noon() + jiff::Span::new().seconds(random.i64(0..20)),
        requester: if random.bool() { testing::root() } else { Caller::user(7, "seven") }.actor(),
        by_id: false,
        history: vec![],
    };
    state.connections.insert(one.clone(), connection);
}

#[test]
fn after_every_change_it_is_what_a_walk_finds() {
    let template = testing::model().endpoints.values().next().unwrap().clone();
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut before, mut index) = (ControlState::default(), Index::default());
        let mut counts = Counts::default();
        for step in 0..400 {
            let one = Key::new(format!("group-{}", random.u8(..2)), format!("endpoint-{}", random.u8(..13)));
            let mut after = before.clone();
            change(&mut random, &template, &mut after, &one);
            index.follow(&one, &before, &after);
            counts.follow(&one, &before.model, &after.model);
            let walk = |keep: &dyn Fn(&Key, &PrivateEndpoint) -> bool| -> Vec<Key> {
                after.model.endpoints.iter().filter(|(k, e)| keep(k, e)).map(|(k, _)| k.clone()).collect()
            };
            for place in 0..3 {
                let (resource, vnet) = (key(&format!("resource-{place}")), key(&format!("vnet-{place}")));
                let listed: Vec<Key> = index.bound_to(&resource).cloned().collect();
                assert_eq!(listed, walk(&|_, e| e.resource == resource), "seed {seed}, step {step}");
                let listed: Vec<Key> = index.within(&vnet).cloned().collect();
                assert_eq!(listed, walk(&|_, e| e.vnet == vnet), "seed {seed}, step {step}");
            }
            for (place, who) in (0..3).flat_map(|place| [(place, testing::root()), (place, Caller::user(7, "seven"))]) {
                let (resource, who) = (key(&format!("resource-{place}")), who.subject.principal().clone());
                let listed: Vec<Key> = index.asking(&resource, &who).cloned().collect();
                let asks = |key: &Key| {
                    let one = after.connections.get(key).expect("each has one");
                    one.state == ConnectionState::Pending && one.requester.principal == who
                };
                assert_eq!(listed, walk(&|k, e| e.resource == resource && asks(k)), "seed {seed}, step {step}");
            }
            let name = &one.name;
            let listed: Vec<Key> = index.named(&name.to_uppercase()).cloned().collect();
            assert_eq!(listed, walk(&|k, _| k.name == *name), "seed {seed}, step {step}");
            let now = noon() + jiff::Span::new().seconds(random.i64(0..20));
            let ends = |k: &Key| after.connections[k].ends_at;
            let mut over = walk(&|k, _| ends(k).is_some_and(|at| at <= now));
            over.sort_by_key(|k| (ends(k), k.clone()));
            let listed: Vec<Key> = index.over(now).cloned().collect();
            assert_eq!(listed, over, "seed {seed}, step {step}");
            assert_eq!(index.next_end(), after.connections.values().filter_map(|one| one.ends_at).min());
            let mut pending = walk(&|k, _| after.connections[k].state == ConnectionState::Pending);
            pending.sort_by_key(|k| after.connections[k].created_at);
            assert_eq!(index.pending().cloned().collect::<Vec<_>>(), pending, "seed {seed}, step {step}");
            assert_eq!(index, Index::of(&after), "seed {seed}, step {step}");
            assert_eq!(counts.used(), Counts::of(&after.model).used(), "seed {seed}, step {step}");
            before = after;
        }
    }
}
