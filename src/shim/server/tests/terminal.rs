//! A terminal: its size, its echo, and what comes when nobody has it open.

use super::*;

#[test]
fn a_terminal_has_a_size_echoes_and_ends() {
    let script = "read a; stty size; read b; exit 4";
    let options = Options { tty: true, stdin: true, ..Options::default() };
    let c = Container::start(script, options);
    let socket = c.connect();
    say(&socket, &Request::Attach(ALL));
    let mut client = Client::new(socket);
    assert_eq!(client.next(), Some(Heard::Attached { tty: true }));
    say(&client.socket, &Request::Resize { rows: 33, cols: 101 });
    client.type_in(b"x\n");
    client.until("33 101\r\n");
    client.type_in(b"y\n");
    assert_eq!(client.finish(), Some(4));
    assert!(c.log().contains("33 101\r\n"));
    c.end();
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_comes_back() {
    let script = "t=$(tty); exec <&- >&- 2>&-; sleep 0.4; exec >$t; echo back; sleep 0.3";
    let c = Container::start(script, Options { tty: true, ..Options::default() });
    let mut client = c.attach(ALL);
    assert_eq!(client.finish(), Some(0));
    assert_eq!(client.stdout, b"back\r\n");
    c.end();
}
