const HELD_GROUPS = 2u; // groups of four hidden units whose weights an invocation holds
