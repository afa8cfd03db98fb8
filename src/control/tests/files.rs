//! What the daemon's file does at a start, at SIGHUP and in a dry run.

use super::*;

#[test]
fn what_a_start_makes_of_the_file_is_recorded() {
    let (world, control) = running();
    let told = |world: &World| -> Vec<(String, String, Option<String>)> {
        let records = std::mem::take(&mut *world.records.lock().unwrap());
        records.into_iter().map(|record| (record.action, record.object, record.to)).collect()
    };
    let file = ("apply".to_owned(), "file of daemon".to_owned(), None);
    let made = |kind: &str, name: &str, to: Option<&str>| {
        ("create".to_owned(), format!("{kind} default/{name}"), to.map(str::to_owned))
    };
    let (vnet, resource) = (|name| made("vnet", name, None), |name| made("resource", name, None));
    let endpoint = |name| made("endpoint", name, Some("Approved"));
    let first = [file.clone(), vnet("core"), vnet("spoke"), resource("orders-db"), endpoint("orders")];
    assert_eq!(told(&world), first);
    drop(control);
    drop(restart(&world, model()));
    assert_eq!(told(&world), [], "the same file again changes nothing");
    drop(restart(&world, two()));
    assert_eq!(told(&world), [file, endpoint("second")]);
}

#[test]
fn approved_in_the_file_rejected_live_stays_rejected_over_sighup_and_restart() {
    let (world, control) = running();
    control.apply(&root(), Decide::reject(orders())).unwrap();
    let report = control.apply(&root(), apply_file(model(), false)).unwrap();
    assert!(report.differences[0].contains("the file says Approved; rejected by root"), "{report}");
    assert!(!world.passes("10.1.9.4"));
    let control = restart(&world, model());
    assert!(!world.passes("10.1.9.4"));
    assert_eq!(control.view().status().differences.len(), 1);
}

#[test]
fn a_dry_run_reports_and_changes_nothing() {
    let (world, control) = running();
    let version =
        ApplyFile { author: DAEMON.into(), model: two(), host: Some(host(&["core"])), prune: true, dry_run: true };
    let report = control.apply(&root(), version).unwrap();
    assert!(report.to_string().contains("would apply: 1 created"), "{report}");
    assert_eq!(report.needs_restart, ["[[attachment]] of default/spoke"]);
    assert!(world.events().is_empty());
}

thread_local! {
    /// Whole models that this thread has validated.
    static VALIDATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn what_a_file_brings_is_validated_once() {
    let world = Arc::new(World::default());
    let counting = Setup {
        validate: |_, _, only| {
            VALIDATED.set(VALIDATED.get() + usize::from(only.is_none()));
            Vec::new()
        },
        ..setup(two())
    };
    let control = concurrent::start(&world, counting);
    VALIDATED.set(0);
    let mut other = two();
    other.vnets.get_mut(&key("core")).unwrap().region = "elsewhere".into();
    control.apply(&root(), apply_file(other, false)).unwrap();
    assert_eq!(VALIDATED.take(), 1, "it gives something");
    // It takes an endpoint away, which is in force before the rest.
    control.apply(&root(), apply_file(model(), true)).unwrap();
    assert!(!world.passes("10.1.9.5"));
    assert_eq!(VALIDATED.take(), 1, "it takes something away");
}

#[test]
fn the_log_tells_the_first_lines_of_an_outcome_and_nothing_of_a_question() {
    let many = |lines: usize| {
        let created = (0..lines).map(|number| format!("endpoint default/e{number}")).collect();
        first_lines(&ApplyReport { created, ..ApplyReport::default() })
    };
    assert_eq!(many(2).lines().count(), 3);
    let cut = many(1_000);
    assert_eq!(cut.lines().count(), LOGGED + 1, "{cut}");
    assert!(cut.ends_with("\nand 981 more lines"), "{cut}");
    let version = apply_file(model(), false);
    let asked = ApplyFile { dry_run: true, ..version.clone() };
    let wrapped = |then| Unchanged { items: Vec::new(), seen: Arc::default(), then };
    assert!(asked.only_asks() && !version.only_asks());
    let chosen = Selection { dry_run: true, ..Selection::default() };
    assert!(wrapped(DecideAll::reject(chosen.clone())).only_asks() && DecideAll::approve(chosen).only_asks());
    assert!(!wrapped(DecideAll::reject(Selection::default())).only_asks());
}
