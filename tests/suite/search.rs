//! search: what is asked, what is shown. The index is the test's own server; tags come from a real registry.

use serde_json::json;

use super::pull::image;
use crate::harness::{Act, Answer, PASSWORD, Registry, Sandbox, Server, USER};

#[test]
fn repositories_are_searched_filtered_and_shown() {
    let s = Sandbox::new();
    let hit = |name: &str, stars: u64, official: bool| json!({ "name": name, "description": "x".repeat(60), "star_count": stars, "is_official": official, "is_automated": false });
    let answer =
        json!({ "results": [hit("web", 90, true), hit("me/web", 2, false), hit("a\u{1b}b", 1, false)] });
    let index = Server::start(None, move |_, _| Act::Say(Answer::new(200, answer.to_string())));
    let term = format!("{}/we b", index.host());
    let out = s.ok(["search", "--limit", "7", &term]);
    assert_eq!(index.seen()[0].path, "/v1/search?q=we+b&n=7");
    out.has("NAME ").has("DESCRIPTION").has("STARS").has("OFFICIAL").has("…").has("[OK]").lacks("\u{1b}");
    s.ok(["search", "--no-trunc", &term]).has(&"x".repeat(60));
    s.ok(["search", "--filter", "is-official=true", "--format", "{{.Name}}", &term]).is("web");
    s.ok(["search", "-f", "stars=2", "--format", "{{.Name}} {{.StarCount}}", &term]).is("web 90\nme/web 2");
    s.exits(1, ["search", "-f", "stars=many", &term]).says("a number is expected");
    s.exits(1, ["search", "--limit", "101", &term]).says("[1, 100]");
    s.ok(["search", "-f", "is-official", "--format", "{{.IsOfficial}}", &term]).is("[OK]");
    let whole = s.json(["search", "-f", "is-official", "--format", "json", &term]);
    let described = format!("{}…", "x".repeat(44));
    let wanted = json!({ "Name": "web", "Description": described, "StarCount": "90", "IsOfficial": "true", "IsAutomated": "false" });
    assert_eq!(whole, wanted);
    s.exits(1, ["search", "--format", "{{.Nope}}", &term]).says("Nope");
    let none = Server::start(None, |_, _| Act::Say(Answer::new(404, "")));
    s.exits(1, ["search", &format!("{}/web", none.host())]).says("a search for web");
}

#[test]
fn tags_are_listed() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for tag in ["1", "2", "3"] {
        registry.push("app", tag, &image(tag));
    }
    let name = format!("{}/app", registry.host());
    s.ok(["search", "--list-tags", "--limit", "2", "--format", "{{.Tag}}", &name]).is("1\n2");
    s.ok(["search", "--list-tags", &name]).has("NAME").has("TAG").has(&format!("{name}   3"));
}

/// No page is asked for that nobody wants to see.
#[test]
fn tags_are_asked_for_until_there_are_enough() {
    let s = Sandbox::new();
    let registry = Server::start(None, |request, _| {
        let last = request.path.split("last=").nth(1).and_then(|l| l.split('&').next()).unwrap_or("0");
        let first: u32 = last.parse().unwrap();
        let tags: Vec<String> = (first + 1..=first + 2).map(|n| n.to_string()).collect();
        let next = format!("</v2/app/tags/list?last={}&n=2>; rel=\"next\"", first + 2);
        Act::Say(Answer::new(200, json!({ "name": "app", "tags": tags }).to_string()).with("Link", next))
    });
    let name = format!("{}/app", registry.host());
    let list = |limit: &str| s.ok(["search", "--list-tags", "--limit", limit, "--format", "{{.Tag}}", &name]);
    list("3").is("1\n2\n3");
    let paths: Vec<String> = registry.seen().iter().map(|r| r.path.clone()).collect();
    assert_eq!(paths, ["/v2/app/tags/list?n=3", "/v2/app/tags/list?last=2&n=2"]);
    registry.forget();
    list("2").is("1\n2");
    assert_eq!(registry.seen().len(), 1);
}

/// A registry that does not search has a catalog, which is shown to those who may see it.
#[test]
fn a_catalog_is_searched_by_those_who_have_logged_in() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for name in ["team/web", "team/db", "web"] {
        registry.push(name, "1", &image(name));
    }
    let search = |host: &str| {
        let line = ["search", "--format", "{{.Name}}", &format!("{host}/we")].map(str::to_owned).to_vec();
        s.kelp(line).env("DOCKER_CONFIG", s.work())
    };
    search(&registry.host()).exits(0).is("team/web\nweb");
    let guarded = registry.with_password();
    let front = Server::start(Some(guarded.port()), |_, _| Act::Pass);
    search(&front.host()).exits(77).says("kelp login");
    let login = s.kelp(["login", "-u", USER, "--password-stdin", &front.host()]);
    login.env("DOCKER_CONFIG", s.work()).stdin(PASSWORD).exits(0);
    front.forget();
    search(&front.host()).exits(0).is("team/web\nweb");
    // The first finds out which scheme is spoken, and shows nothing.
    assert!(front.seen()[0].header("authorization").is_none());
    assert!(front.seen()[1].header("authorization").is_some_and(|a| a.starts_with("Basic ")));
}
