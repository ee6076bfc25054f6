//! search: what is asked, what is shown. The index is the test's own server; tags come from a real registry.

use serde_json::json;

use super::pull::image;
use crate::harness::{Act, Answer, Registry, Sandbox, Server};

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
