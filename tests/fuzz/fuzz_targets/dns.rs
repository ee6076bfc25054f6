//! DNS messages of a container's and of whoever claims to be a name server: no panic, and nothing that is made of them
//! is longer than they are, or an answer to anything else.
#![no_main]

use kelp::net::dns::message::{self, Asked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (query, answer) = input;
    match message::asked(query) {
        Asked::Nothing => {}
        Asked::Bad(reply) => assert_eq!(reply.len(), 12),
        Asked::Question(question) => {
            let reply = message::answer(query, &question, message::NO_SUCH_NAME);
            assert!(reply.len() <= query.len() && question.name.len() < 255);
            assert!(message::belongs(&reply, query, message::id(query)));
            let _ = message::answer_addresses(query, &question, &[[10, 0, 2, 2].into(), [0u16; 8].into()]);
            if message::belongs(answer, query, 7) {
                assert_eq!(message::id(answer), 7);
            }
        }
    }
});
