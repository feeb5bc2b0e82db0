"""Tuning methods: which parameters move. One file per method; `table.METHODS` names them."""
