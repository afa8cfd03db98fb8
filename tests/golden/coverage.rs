//! Whether everything is recorded that there is: every route, every command, every file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use super::FILES;
use super::lab::Lab;
use super::transcript::{Section, compare, path, read, words};

/// Help is asked for of every command there is, so no file says of which.
const HELP: &str = "cli/help.txt";

/// Commands whose result has one form, whatever is asked for.
const ONE_FORM: [&str; 3] = ["gen man", "gen completions", "gen schema"];

/// Commands that cannot succeed here, and why. What they refuse is recorded all the same.
const WITHOUT_SUCCESS: [(&str, &str); 3] = [
    ("run", "it forwards packets, in network namespaces"),
    ("restore", "it wants a state on disk"),
    ("doctor", "it says how names are resolved on this host"),
];

/// Methods that a route may have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The headings of every file, in words.
fn headings() -> Vec<Vec<String>> {
    FILES.iter().flat_map(|file| read(file).1).map(|section| words(&section.heading)).collect()
}

/// How a request fits `template`, whose parts in braces are open: how many parts are not. `None`: not at all.
fn fit(template: &str, request: &str) -> Option<usize> {
    let request = request.split('?').next().unwrap_or_default();
    let (wanted, parts): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), request.split('/').collect());
    let open = |part: &str| part.starts_with('{');
    let fits = wanted.iter().zip(&parts).all(|(wanted, part)| open(wanted) || wanted.eq_ignore_ascii_case(part));
    (wanted.len() == parts.len() && fits).then(|| wanted.iter().filter(|wanted| !open(wanted)).count())
}

/// Those of `routes`, method and template, that no heading asks.
fn unasked(routes: &[(String, String)]) -> Vec<String> {
    let mut asked = BTreeSet::new();
    for heading in headings() {
        let [method, request, ..] = heading.as_slice() else { continue };
        let best = routes.iter().filter(|(of, _)| of == method);
        let best = best.filter_map(|route| Some((fit(&route.1, request)?, route))).max_by_key(|(fit, _)| *fit);
        asked.extend(best.map(|(_, route)| route));
    }
    routes.iter().filter(|route| !asked.contains(route)).map(|(method, path)| format!("{method} {path}")).collect()
}

#[test]
fn every_file_has_a_test() {
    let mut found = Vec::new();
    for folder in ["", "arm", "v1", "cli"] {
        let Ok(entries) = std::fs::read_dir(path(folder)) else { continue };
        for entry in entries {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            found.extend(name.strip_suffix(".txt").map(|_| name.clone()));
        }
    }
    let mut files: Vec<&str> = FILES.iter().copied().chain([HELP]).collect();
    files.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, files);
}

/// The `OpenAPI` document is made from the table that requests are matched against.
#[test]
fn every_route_of_azure_is_recorded() {
    let lab = Lab::new("coverage-arm");
    let answer = lab.request("GET", "/openapi.json", &[], "");
    let (_, body) = answer.split_once("\n\n").expect("a body");
    let document: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys().map(|method| method.to_uppercase());
        routes.extend(methods.filter(|method| method != "PARAMETERS").map(|method| (method, path.clone())));
    }
    assert!(routes.len() > 80, "the routes were not found: {routes:?}");
    let unasked = unasked(&routes);
    assert!(unasked.is_empty(), "no file below tests/golden/arm asks: {unasked:#?}");
}

/// The router's own source says which paths there are; which methods they have, the router.
#[test]
fn every_route_of_v1_is_recorded() {
    let lab = Lab::new("coverage-v1");
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api"), &mut sources);
    let routes = sources.iter().flat_map(|text| text.split(".route(\"").skip(1));
    let mut paths: Vec<String> = routes.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect();
    // Kinds that are listed and shown by one handler have their paths in one table.
    let table = include_str!("../../src/types/mod.rs");
    for word in ["shown::<", "owned::<"] {
        for rest in sources.iter().flat_map(|text| text.split(word).skip(1)) {
            let kind = rest.split([',', '>']).next().unwrap_or_default();
            let path = table.split(&format!("    {kind}: \"")).nth(1).and_then(|rest| rest.split('"').next());
            paths.extend(path.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/{{name}}")]));
        }
    }
    let mut routes = Vec::new();
    for path in paths {
        let status = |method: &str, path: &str| {
            let answer = lab.request(method, &path.replace(['{', '}'], ""), &[], "{");
            answer[..3].to_owned()
        };
        // Nothing is put below the prefix.
        let prefixed = format!("/v1{path}");
        let path = if status("PUT", &prefixed) == "404" { &path } else { &prefixed };
        let methods = METHODS.into_iter().filter(|method| status(method, path) != "405");
        routes.extend(methods.map(|method| (method.to_owned(), path.to_owned())));
    }
    assert!(routes.len() > 60, "the routes were not found: {routes:?}");
    let unasked = unasked(&routes);
    assert!(unasked.is_empty(), "no file below tests/golden/v1 asks: {unasked:#?}");
}

/// Every command, as its words, and its help; those that only hold others stand first.
fn commands() -> &'static [(Vec<String>, String)] {
    static ALL: LazyLock<Vec<(Vec<String>, String)>> = LazyLock::new(|| {
        let mut all = Vec::new();
        walk(&Lab::new("commands"), &[], &mut all);
        assert!(all.len() > 70, "the commands were not found: {all:?}");
        all
    });
    &ALL
}

/// `of`, and the commands that its help lists.
fn walk(lab: &Lab, of: &[String], all: &mut Vec<(Vec<String>, String)>) {
    let help = lab.command(&[], &[of, &["--help".to_owned()]].concat());
    assert!(help.starts_with("exit 0\n"), "{of:?}: {help}");
    all.push((of.to_vec(), help.clone()));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    for name in names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help") {
        walk(lab, &[of, &[name.to_owned()]].concat(), all);
    }
}

#[test]
fn every_command_explains_itself_as_recorded() {
    let answer = |(words, help): &(Vec<String>, String)| {
        (Section::of(&format!("privlink {} --help", words.join(" ")).replace("  ", " ")), help.clone())
    };
    compare(HELP, "What every command says of itself.\n\n", commands().iter().map(answer));
}

#[test]
fn every_command_is_recorded_as_text_and_as_json() {
    let all: Vec<&Vec<String>> = commands().iter().map(|(words, _)| words).collect();
    let is_leaf =
        |one: &&&Vec<String>| !all.iter().any(|other| other.len() > one.len() && other.starts_with(one.as_slice()));
    let recorded: Vec<(Vec<String>, String)> = FILES
        .iter()
        .flat_map(|file| read(file).1)
        .map(|section| {
            let words = words(&section.heading).into_iter().skip_while(|word| word != "privlink").skip(1);
            (words.collect(), section.answered)
        })
        .collect();
    let mut missing = Vec::new();
    for leaf in all.iter().filter(is_leaf) {
        let name = leaf.join(" ");
        let never = WITHOUT_SUCCESS.iter().any(|(command, _)| *command == name);
        let forms: &[bool] = if ONE_FORM.contains(&&*name) { &[false] } else { &[false, true] };
        for json in forms.iter().copied() {
            let found = recorded.iter().any(|(words, answered)| {
                let is_json = words.iter().any(|word| word == "--json");
                words.starts_with(leaf.as_slice()) && is_json == json && (never || answered == "exit 0")
            });
            missing.extend((!found).then(|| format!("privlink {name}{}", if json { " --json" } else { "" })));
        }
    }
    assert!(missing.is_empty(), "no file below tests/golden/cli calls, and is answered: {missing:#?}");
}

/// The text of every file of the program below `folder`.
fn collect(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(std::fs::read_to_string(&path).expect("text"));
        }
    }
}
