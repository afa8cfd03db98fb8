use super::*;
use crate::testing::{ip, key, model};

fn check() -> HealthCheck {
    HealthCheck {
        port: 80,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 2,
        rise: 1,
        path: None,
    }
}

/// Never answers.
struct Silent;

impl Probe for Silent {
    fn reaches(&self, _: &Key) -> bool {
        true
    }

    fn connect(&self, _: &Key, _: SocketAddr, _: Option<&str>) -> Connecting {
        Box::pin(std::future::pending())
    }
}

/// `db` with one server that drains or not, checked or not.
fn with(drain: Option<Duration>, health: Option<HealthCheck>) -> Model {
    let mut model = model();
    let mut resource = model.resources.get(&key("orders-db")).expect("the resource").clone();
    resource.drain = drain.unwrap_or(resource.drain);
    resource.targets[0].backends[0].drain = drain.is_some();
    resource.targets[0].health = health;
    model.resources.insert(key("orders-db"), resource);
    model
}

fn server() -> Server {
    let model = with(None, None);
    let target = &model.resources.get(&key("orders-db")).expect("the resource").targets[0];
    Server::of(&key("orders-db"), target, &target.backends[0])
}

/// What [`ServerWatcher::follow`] starts, and never ends by itself.
fn idle(_: &Key, _: &Server, _: HealthCheck) -> AbortHandle {
    tokio::spawn(std::future::pending::<()>()).abort_handle()
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_after_its_timeout_and_the_next_comes_after_the_interval() {
    let (findings, mut found) = mpsc::channel(64);
    tokio::spawn(repeat(Arc::new(Silent), key("core"), server(), check(), findings));
    let mut at = Vec::new();
    for _ in 0..3 {
        let (_, _, result) = found.recv().await.expect("a finding");
        assert_eq!(result, Err("no answer within 2s".to_owned()));
        at.push(Instant::now());
    }
    assert_eq!(at[1] - at[0], Duration::from_secs(5));
    assert_eq!(at[2] - at[1], Duration::from_secs(5));
}

#[tokio::test]
async fn findings_bring_a_server_down_and_new_settings_do_not_lift_it() {
    let (mut watch, now, failed) = (ServerWatcher::default(), Instant::now(), Err("refused".to_owned()));
    watch.follow(&with(None, Some(check())), now, |_, _| true, idle);
    watch.note(&server(), &check(), &failed);
    assert_eq!(watch.health(now), Health::default(), "one failure is not enough");
    watch.note(&server(), &check(), &failed);
    let down = Health { down: BTreeSet::from([server()]), ..Health::default() };
    assert_eq!(watch.health(now), down);

    let patient = HealthCheck { rise: 2, ..check() };
    watch.follow(&with(None, Some(patient.clone())), now, |_, _| true, idle);
    watch.note(&server(), &check(), &Ok(()));
    assert_eq!(watch.health(now), down, "a finding of settings that are no more");
    watch.note(&server(), &patient, &Ok(()));
    watch.note(&server(), &patient, &Ok(()));
    assert_eq!(watch.health(now), Health::default());

    watch.note(&server(), &patient, &failed);
    watch.note(&server(), &patient, &failed);
    assert_eq!(watch.health(now), down);
    let mut elsewhere = with(None, Some(patient.clone()));
    let mut moved = elsewhere.resources.get(&key("orders-db")).expect("the resource").clone();
    moved.vnet = Some(key("spoke"));
    elsewhere.resources.insert(key("orders-db"), moved);
    watch.follow(&elsewhere, now, |_, _| true, idle);
    assert_eq!(watch.health(now), Health::default(), "the same address in another network is another server");
    watch.follow(&elsewhere, now, |vnet, _| *vnet != key("spoke"), idle);
    assert!(watch.checks.is_empty(), "a network that is not met here");
    watch.follow(&with(None, None), now, |_, _| true, idle);
    assert!(watch.checks.is_empty(), "nobody asks any more");
}

#[tokio::test]
async fn a_check_of_some_ports_is_one_by_itself() {
    let (mut watch, now, failed) = (ServerWatcher::default(), Instant::now(), Err("refused".to_owned()));
    let mut model = with(None, None);
    let mut resource = model.resources.get(&key("orders-db")).expect("the resource").clone();
    let port = resource.targets[0].ports[0];
    let of = |name: &str, port: u16| crate::model::PortCheck {
        name: name.into(),
        ports: vec![(crate::model::Protocol::Tcp, port, port)],
        check: check(),
    };
    resource.targets[0].port_checks = vec![of("web", port.first), of("admin", 9)];
    model.resources.insert(key("orders-db"), resource.clone());
    watch.follow(&model, now, |_, _| true, idle);
    assert_eq!(watch.checks.len(), 2);
    let fail = |watch: &mut ServerWatcher, name: &str| {
        (0..2).for_each(|_| _ = watch.note(&server().by(name), &check(), &failed));
    };
    fail(&mut watch, "admin");
    let health = watch.health(now);
    assert_eq!(health.down, BTreeSet::from([server().by("admin")]));
    let (target, backend) = (&resource.targets[0], &resource.targets[0].backends[0]);
    let told = |health: &Health| {
        let silent: Vec<String> =
            health.silent(&key("orders-db"), target, backend).map(|one| one.name.clone()).collect();
        (health.state(&key("orders-db"), target, backend), health.is_well(&key("orders-db"), target, backend), silent)
    };
    assert_eq!(told(&health), (crate::snapshot::BackendState::Up, false, vec!["admin".to_owned()]));
    // At every port that is exposed.
    fail(&mut watch, "web");
    let both = vec!["web".to_owned(), "admin".to_owned()];
    assert_eq!(told(&watch.health(now)), (crate::snapshot::BackendState::Down, false, both));
    watch.note(&server().by("web"), &check(), &Ok(()));
    watch.note(&server().by("admin"), &check(), &Ok(()));
    assert_eq!(watch.health(now), Health::default());
}

#[tokio::test]
async fn a_drained_servers_time_is_counted_from_the_wish() {
    let (mut watch, now) = (ServerWatcher::default(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    let minute = with(Some(Duration::from_mins(1)), None);
    watch.follow(&minute, now, |_, _| true, idle);
    watch.follow(&minute, after(30), |_, _| true, idle);
    assert_eq!(watch.next_due(after(30)), Some(after(60)));
    assert_eq!(watch.health(after(59)), Health::default());
    let over = Health { drained: BTreeSet::from([server()]), ..Health::default() };
    assert_eq!(watch.health(after(60)), over);
    watch.follow(&with(Some(Duration::from_mins(2)), None), after(60), |_, _| true, idle);
    assert_eq!(watch.health(after(119)), Health::default(), "more time, from the same beginning");
    assert_eq!(watch.health(after(120)), over);
    watch.follow(&with(None, None), after(121), |_, _| true, idle);
    watch.follow(&minute, after(122), |_, _| true, idle);
    assert_eq!(watch.health(after(181)), Health::default(), "another wish, another beginning");
    assert_eq!(watch.health(after(182)), over);
}

#[test]
fn a_retired_address_is_over_when_no_session_has_been_counted_for_a_while() {
    let (before, mut watch, now) = (model(), ServerWatcher::default(), Instant::now());
    let mut after = before.clone();
    let mut resource = after.resources.get(&key("orders-db")).expect("the resource").clone();
    let nat = std::mem::replace(&mut resource.nat, vec![ip("10.20.99.77")])[0];
    after.resources.insert(key("orders-db"), resource);
    let retired = Retired::default().after(&before, &after);
    let wanted = BTreeSet::from([(key("orders-db"), nat)]);
    let mut look = |second: u64, used: u64| {
        let usage: Usage = Box::new(move |address| if address == nat { used } else { 9 });
        watch.over(&retired, now + Duration::from_secs(second), &usage)
    };
    for (second, used) in [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0), (5, 0)] {
        assert!(look(second, used).is_empty(), "second {second}");
    }
    assert_eq!(look(6, 0), wanted);
}
