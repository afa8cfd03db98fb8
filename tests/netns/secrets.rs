//! What a body of Azure's holds and means nothing here: its secrets are kept, logged and shown nowhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::lab::{Daemon, ask, isolated, orders, read_log, rest, two_legs};

const SECRET: &str = "hunter2-Zq7";
const GROUP: &str = "/subscriptions/default/resourceGroups/default/providers";

/// Whether any file below `directory` has `text` among its bytes.
fn holds(directory: &Path, text: &str) -> bool {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.into_iter().any(|path| {
        let contents = || fs::read(&path).unwrap_or_default(); // a socket cannot be read
        if path.is_dir() { holds(&path, text) } else { contents().windows(text.len()).any(|at| at == text.as_bytes()) }
    })
}

#[test]
fn a_secret_of_a_body_is_in_no_answer_no_file_no_log_and_no_record() {
    isolated("secrets::a_secret_of_a_body_is_in_no_answer_no_file_no_log_and_no_record", || {
        two_legs();
        let daemon = Daemon::start(&orders("Approved"));
        let server = format!("{GROUP}/Microsoft.Sql/servers/db");
        let body = |version: &str| {
            json!({ "location": "westeurope", "properties": {
                "administratorLogin": "sa", "administratorLoginPassword": SECRET, "version": version,
                "administrators": { "clientSecret": SECRET } } })
            .to_string()
        };
        let told = |answer: &Value| answer["properties"]["privlink"]["notKept"].clone();
        for (method, version) in [("PUT", "12.0"), ("PUT", "12.1"), ("GET", ""), ("GET", "")] {
            let sent = if method == "PUT" { body(version) } else { String::new() };
            let (status, answer) = rest(method, &server, &sent);
            assert_eq!(status, 200, "{method}: {answer}");
            assert!(!answer.to_string().contains(SECRET), "{method}: {answer}");
            assert_eq!(answer["properties"]["version"], if version == "12.0" { "12.0" } else { "12.1" });
            let names = told(&answer).to_string();
            assert!(names.contains("administratorLoginPassword"), "{method}: {answer}");
        }
        // What is refused is not quoted, either.
        let (status, answer) =
            rest("PUT", &server, &json!({ "properties": { "password": SECRET, "privlink": 7 } }).to_string());
        assert!(status == 400 && !answer.to_string().contains(SECRET), "{answer}");
        // There are no deployments: neither template nor parameters stay anywhere.
        let template = json!({ "properties": { "mode": "Incremental", "template": { "parameters": { "p": SECRET } },
            "parameters": { "p": { "value": SECRET } } } });
        let (status, answer) =
            rest("PUT", &format!("{GROUP}/Microsoft.Resources/deployments/d"), &template.to_string());
        assert!(status == 404 && !answer.to_string().contains(SECRET), "{answer}");
        assert_eq!(rest("GET", &format!("{GROUP}/Microsoft.Resources/deployments/d"), "").0, 404);

        for said in [ask("audit list --json"), ask("audit export -"), ask("resource list --json"), read_log()] {
            assert!(!said.contains(SECRET), "{said}");
        }
        assert!(ask("audit list").contains("db"), "what was done is told");
        let (state, run) = (Path::new("/run/privlink/state"), Path::new("/run/privlink"));
        assert!(holds(state, "12.1") && !holds(run, SECRET), "beside the running daemon");
        daemon.stop();
        assert!(holds(state, "12.1") && !holds(run, SECRET), "and after its end");
        let _daemon = Daemon::again(&[]);
        let (_, answer) = rest("GET", &server, "");
        assert!(told(&answer).to_string().contains("administratorLoginPassword"), "{answer}");
    });
}
