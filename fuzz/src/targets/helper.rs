//! What the privileged program reads: requests of users, and rules of an administrator.

use atoll_helper::{Asker, BridgeAcl, Names, Policy, RefusalKind, Request};

/// A request: refused in a sentence, or one that reads the same when it is written again and that an empty policy denies.
pub(super) fn request(input: &[u8]) {
    let request = match Request::decode(input) {
        Ok(request) => request,
        Err(refusal) => {
            assert_eq!(refusal.kind, RefusalKind::Malformed);
            assert!(!refusal.sentence.is_empty() && !refusal.sentence.contains('\n'));
            return;
        }
    };
    assert_eq!(Request::decode(&request.encode()).as_ref(), Ok(&request));
    let asker = Asker {
        uid: 1000,
        groups: vec![1000],
    };
    let refused = Policy::default().judge(&asker, &BridgeAcl::default(), &request);
    let refusal = refused.expect_err("nothing is allowed that no rule allows");
    let hint = refusal
        .hint
        .expect("a refusal by the policy says which rule would do");
    let rule = hint.split_once(": ").map_or("", |(_, rule)| rule);
    let policy = Policy::parse("rule", rule, &Names::default()).expect("the rule is one");
    assert_eq!(policy.judge(&asker, &BridgeAcl::default(), &request), Ok(()));
}

/// A file of rules: understood, or refused with a sentence for each mistake.
pub(super) fn policy(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(mistakes) = Policy::parse("helper.conf", &text, &Names::default()) {
        assert!(!mistakes.is_empty(), "refused without a word");
        for mistake in mistakes {
            assert!(mistake.line >= 1 && !mistake.sentence.is_empty() && !mistake.hint.is_empty());
        }
    }
}
