pub(super) const TARGET: super::Target = super::Target {
    name: "pdu",
    body: |_| {},
    seeds: Vec::new,
    longest: 4,
};
