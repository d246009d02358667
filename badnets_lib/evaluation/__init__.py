"""How well a network and an attack work: counts, the report that states them, and how visible a trigger is."""
