//! What the daemon does for nobody who may not have it done: it is not even begun.

use super::*;

/// A world that counts how often `reload` and `backup` are begun. What the file says wrongly is a secret.
fn counting() -> (World, Arc<AtomicU32>) {
    let mut world = World::empty();
    world.put(things::own());
    world.put(things::callers());
    let begun = Arc::new(AtomicU32::new(0));
    let (reloads, backups) = (Arc::clone(&begun), Arc::clone(&begun));
    world.state.reload = Arc::new(move |_| {
        reloads.fetch_add(1, Ordering::Relaxed);
        Err(ReloadFailure::BadConfig("7:1: error: unknown key `secret`".to_owned()))
    });
    world.state.backup = Arc::new(move || {
        backups.fetch_add(1, Ordering::Relaxed);
        Err("no copy here".to_owned())
    });
    world.router = router(world.state.clone());
    (world, begun)
}

fn post(path: &str, body: &str) -> Asked {
    Asked { method: "POST", path: path.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn the_file_is_read_for_nobody_who_may_not_apply_it() {
    let (world, begun) = counting();
    for uid in [things::TENANT, 4242] {
        for body in ["", "{}"] {
            let told = world.ask(&caller(uid), &post("/v1/reload", body)).await;
            assert_eq!((told.status, begun.load(Ordering::Relaxed)), (403, 0), "{uid}: {told:?}");
            assert!(!told.body.contains("secret"), "{uid}: {told:?}");
        }
    }
    let told = world.ask(&root(), &post("/v1/reload", "")).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    assert!(told.body.contains("unknown key `secret`"), "{told:?}");
}

#[tokio::test]
async fn a_backup_is_no_file_that_a_body_names() {
    let (world, begun) = counting();
    for body in ["{}", r#"{"path":"/tmp/copy"}"#, "/tmp/copy"] {
        let told = world.ask(&root(), &post("/v1/backup", body)).await;
        assert_eq!((told.status, begun.load(Ordering::Relaxed)), (400, 0), "{body}: {told:?}");
    }
    let told = world.ask(&caller(things::TENANT), &post("/v1/backup", "")).await;
    assert_eq!((told.status, begun.load(Ordering::Relaxed)), (403, 0), "{told:?}");
    world.ask(&root(), &post("/v1/backup", "")).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}
