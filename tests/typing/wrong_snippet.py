"""What mypy must refuse; each line is a fault."""

import shuqiao

client = shuqiao.connect("127.0.0.1:7481")
client = shuqiao.connect("127.0.0.1:7481", token_file="token")
client.query("r", purpose=5)
client.query("r", parameters={"n": 1.5})
client.query("r", "name")
client.verify("r")
client.ask("r")
