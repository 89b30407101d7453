"""Clips into shards: plan, shard tasks, Ray Data, the folder that is published."""
