//! Text is UTF-8, in names of files as in what is printed.

use crate::ground::{Claim, Ground, Shown, act, on_host};

pub(crate) const CLAIM: Claim = Claim { name: "locale", says: "text is UTF-8", from: "process", run };

const NAME: &str = "g\u{fc}nther \u{2615} \u{1f980}";

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    let answer = act(&server, "app:a", "make", &[("name", NAME)]);
    assert_eq!((&answer["encoding"], &answer["names"][0]), (&"utf-8".into(), &NAME.into()), "{answer}");
    let path = server.place().data().join("app/a").join(NAME);
    assert!(on_host(&path).is_none_or(|found| found.is_file()));
    Shown::Yes
}
