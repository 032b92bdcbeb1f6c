"""The pure layers: records, clock, points in time, errors, and the rules of the primitives."""
