//! Two worlds that differ in nothing but in what a caller may not see: every route answers both alike, byte by byte.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;

use axum::http::Method;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::model;
use crate::model::state::ItemKind;
use crate::model::{Key, RoleAssignment, RoleDefinition};
use crate::testing::root;
use crate::types::PATHS;

mod audited;
mod by_id;
mod guarded;
mod looks;
mod requests;
mod sides;
pub(super) mod things;

pub(super) use requests::Asked;

/// Numbers directories.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A daemon without packets and without a socket.
pub(super) struct World {
    directory: PathBuf,
    router: Router,
    pub(super) state: ApiState,
}

impl Drop for World {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What came back, but for what differs between any two answers: date and request ids, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl World {
    /// What everybody may see, what the tenant has, and with `secret` what no caller here may see; without, it is gone.
    pub(super) fn new(secret: bool) -> Self {
        let world = Self::empty();
        world.put(things::own());
        world.put(things::callers());
        world.put(things::secret());
        if !secret {
            for (kind, name) in [
                (ItemKind::Endpoint, "hush/hush-pe"),
                (ItemKind::Resource, "hush/hush-pls"),
                (ItemKind::Resource, "hush/hushaccount"),
                (ItemKind::DnsZone, "hush/hush.internal"),
                (ItemKind::LoadBalancer, "hush/hush-lb"),
                (ItemKind::Vnet, "hush/hush-net"),
                (ItemKind::ResourceGroup, "hush"),
            ] {
                world.delete(kind, name);
            }
        }
        world
    }

    pub(super) fn model(&self) -> Model {
        self.state.control.view().state.model.clone()
    }

    fn delete(&self, kind: ItemKind, reference: &str) {
        let command = Delete { kind, reference: reference.to_owned() };
        self.state.control.apply(&root(), command).expect("deleted");
    }

    pub(super) fn empty() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("privlink-unseen-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        // Documents are JSON here: what is read of TOML is looked up in what their author sees.
        let parse: Parse = Arc::new(|_, body, _| {
            let text = &*body.text();
            let model = serde_json::from_str(text);
            let model =
                model.map_err(|_| model::Error::new(ErrorKind::Invalid, "InvalidDocument", "it is no model", ""))?;
            Ok((model, Vec::new()))
        });
        let rules: crate::control::Validate = |model, host, endpoint| match endpoint {
            Some(key) => crate::model::rules::endpoint(model, Some(host), key),
            None => crate::model::rules::validate(model, Some(host)),
        };
        let state = ApiState { parse, ..state_with(&directory, rules) };
        Self { directory, router: router(state.clone()), state }
    }

    pub(super) fn apply<C: Command>(&self, caller: &Caller, command: C) -> Result<C::Output, model::Error> {
        self.state.control.apply(caller, command)
    }

    pub(super) fn put(&self, items: Model) {
        let command = Put { items: Box::new(items), create_only: true };
        self.state.control.apply(&root(), command).expect("put");
    }

    pub(super) async fn ask(&self, caller: &Caller, asked: &Asked) -> Answered {
        self.ask_with(caller, asked, &[]).await
    }

    async fn ask_with(&self, caller: &Caller, asked: &Asked, headers: &[(&str, &str)]) -> Answered {
        let request = axum::http::Request::builder().method(asked.method).uri(&asked.path).header("host", "localhost");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut request = request.body(Full::new(Bytes::from(asked.body.clone()))).expect("a request");
        request.extensions_mut().insert(caller.clone());
        let service = TowerToHyperService::new(self.router.clone());
        let response = hyper::service::Service::call(&service, request).await.expect("an answer");
        let passing = ["x-ms-request-id", "x-ms-correlation-request-id"];
        let headers = response.headers().iter().filter(|(name, _)| !passing.contains(&name.as_str()));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut headers: Vec<(String, String)> = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        headers.sort();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        if let Some((before, after)) = body.split_once(r#""inForceMicroseconds":"#) {
            headers.retain(|(name, _)| name != "content-length");
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            return Answered { status, headers, body: format!("{before}{rest}") };
        }
        Answered { status, headers, body }
    }
}

pub(super) fn caller(uid: u32) -> Caller {
    Caller::user(uid, format!("uid:{uid}"))
}

/// What `asked` was answered wrongly, as a line.
fn wrong(uid: u32, asked: &Asked, with: &Answered, without: &Answered) -> Option<String> {
    let Asked { method, path, body } = asked;
    let place = format!("uid:{uid} {method} {path} {body}");
    if with != without {
        return Some(format!("{place}\n   there: {with:?}\n  absent: {without:?}"));
    }
    let said = |word: &str| format!("{path}{body}").contains(word);
    let whole = format!("{:?}{}", with.headers, with.body);
    let leaked = things::SECRETS.iter().find(|word| whole.contains(**word) && !said(word));
    leaked.map(|word| format!("{place}: tells {word}: {whole}"))
}

#[tokio::test]
async fn every_route_answers_what_is_unseen_like_what_is_absent() {
    let (with, without) = (World::new(true), World::new(false));
    let requests = requests::all();
    let mut found = Vec::new();
    for uid in things::CALLERS {
        let caller = caller(uid);
        for asked in &requests {
            let (one, other) = (with.ask(&caller, asked).await, without.ask(&caller, asked).await);
            found.extend(wrong(uid, asked, &one, &other));
        }
    }
    assert!(found.is_empty(), "{} answers differ or tell too much:\n{}", found.len(), found.join("\n"));
    // The secret is there, and is found by who may see it.
    for path in ["/v1/endpoints/hush-pe", "/v1/vnets/hush%2Fhush-net", "/v1/resources/hush-pls"] {
        let asked = Asked::get(path);
        assert_eq!(with.ask(&root(), &asked).await.status, 200, "{path}");
        assert_eq!(without.ask(&root(), &asked).await.status, 404, "{path}");
    }
}

/// Every path of the router, from its own source: a route that is added is asked about here, or this is red.
#[tokio::test]
async fn every_route_is_asked_about() {
    let world = World::new(false);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let nouns = std::fs::read_dir(folder.join("v1")).expect("a folder").map(|entry| entry.expect("a file").path());
    let files = nouns.chain([folder.join("mod.rs")]);
    let source: String = files.map(|file| std::fs::read_to_string(file).expect("text")).collect();
    let of_v1 =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split_once('"').map(|(path, _)| path.to_owned()));
    // Kinds that are listed and shown by one handler have their paths in one table.
    let kinds = ["shown::<", "owned::<"].into_iter().flat_map(|word| source.split(word).skip(1));
    let kinds = kinds.filter_map(|rest| PATHS.iter().find(|(kind, _)| rest.starts_with(kind)));
    let of_v1 = of_v1.chain(kinds.flat_map(|(_, path)| [(*path).to_owned(), format!("{path}/{{name}}")]));
    let open = ["/metrics", "/healthz", "/readyz", "/openapi.json", "/version", "/metadata/endpoints"];
    let paths: Vec<String> =
        of_v1.map(|path| if open.contains(&&*path) { path } else { format!("/v1{path}") }).collect();
    assert!(paths.len() > 45, "the router's routes were not found: {paths:?}");
    let requests = requests::of_v1();
    let mut missing = BTreeSet::new();
    for template in &paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let path = template.replace(['{', '}'], "");
            let probe = Asked { method: requests::method(&method), path, body: "{".to_owned() };
            let routed = world.ask(&root(), &probe).await.status != 405;
            let asked = requests.iter().any(|asked| asked.method == method.as_str() && fits(template, &asked.path));
            if routed && !asked {
                missing.insert(format!("{method} {template}"));
            }
        }
    }
    for asked in &requests {
        if !paths.iter().any(|template| fits(template, &asked.path)) {
            missing.insert(format!("no route: {}", asked.path));
        }
    }
    assert!(missing.is_empty(), "add them to the table of requests: {missing:#?}");
}

/// Whether `path` is one of `template`.
fn fits(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (wanted, parts): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let same = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
    wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
}
