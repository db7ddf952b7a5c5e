"""What each reason says to people: reason and remedy, in Chinese and English."""

from typing import NamedTuple


class Sentence(NamedTuple):
    """Reason and remedy in both languages."""

    zh: str
    en: str
    remedy_zh: str
    remedy_en: str


SENTENCES: dict[str, Sentence] = {
    "MALFORMED": Sentence(
        "消息无法解析或缺少内容",
        "The message cannot be parsed or lacks a part.",
        "按接口文档检查请求",
        "Check the request against the interface description.",
    ),
    "OVERSIZED": Sentence(
        "消息、值或列表超出上限",
        "The message, a value or a list is larger than allowed.",
        "减小请求或分批发送",
        "Make the request smaller or split it.",
    ),
    "BAD_IDENTIFIER": Sentence(
        "标识格式或校验码错误",
        "An identifier has a wrong form or checksum.",
        "核对证件号码、信用代码或区划代码",
        "Check the citizen id, credit code or division code.",
    ),
    "WRONG_AUDIENCE": Sentence(
        "请求不是发给本网关的",
        "The request is for another division or gateway.",
        "检查代理配置中的网关与区划",
        "Check gateway and division in the agent's configuration.",
    ),
    "BAD_PARAMETER": Sentence(
        "参数缺失、未知或类型错误",
        "A parameter is missing, unknown or of the wrong type.",
        "按资源目录填写参数",
        "Give the parameters that the catalogue entry names.",
    ),
    "BAD_CONFIGURATION": Sentence(
        "配置或命令参数有误",
        "The configuration or a command's arguments are wrong.",
        "按提示逐项修改配置",
        "Mend each fault that is listed.",
    ),
    "WRONG_SUITE": Sentence(
        "密码套件与本地区策略不符",
        "The cipher suite is not the one the region's policy fixes.",
        "更新信任列表后重试",
        "Take over the newest trust list and ask again.",
    ),
    "NO_IDENTITY": Sentence(
        "没有有效的证书或本地凭据",
        "There is no valid certificate or local credential.",
        "检查证书或凭据文件",
        "Check the certificate or the credential file.",
    ),
    "REVOKED": Sentence(
        "证书或密钥已被吊销",
        "The certificate or key has been revoked.",
        "联系管理员重新注册",
        "Ask the administrator to enrol you again.",
    ),
    "CERTIFICATE_EXPIRED": Sentence(
        "证书或密钥不在有效期内",
        "The certificate or key is outside its time.",
        "续期证书并检查时钟",
        "Renew the certificate and check the clock.",
    ),
    "BAD_SIGNATURE": Sentence(
        "签名验证失败",
        "The signature does not verify.",
        "确认使用了正确的密钥；若持续出现请报告安全员",
        "Make sure the right key signs; if it goes on, tell the security officer.",
    ),
    "BAD_TOKEN": Sentence(
        "注册令牌未知、已用或过期",
        "The enrolment token is unknown, used or expired.",
        "申请新的注册令牌",
        "Ask for a new enrolment token.",
    ),
    "ROLE_NOT_ALLOWED": Sentence(
        "该角色无权执行此操作",
        "The role of the certificate may not do this.",
        "使用具有相应角色的证书",
        "Use a certificate that carries the role needed.",
    ),
    "NO_GRANT": Sentence(
        "没有适用的授权",
        "There is no grant for this consumer, resource and purpose.",
        "由数据专员申请授权",
        "Have your steward apply for a grant.",
    ),
    "GRANT_EXPIRED": Sentence(
        "授权不在有效期内",
        "The grant's term is over or has not begun.",
        "申请新的授权",
        "Apply for a new grant.",
    ),
    "GRANT_REVOKED": Sentence(
        "授权已被撤销或拒绝",
        "The grant has been revoked or rejected.",
        "与提供部门联系",
        "Speak with the provider.",
    ),
    "GRANT_PAUSED": Sentence(
        "授权已暂停",
        "The grant is paused.",
        "与提供部门联系",
        "Speak with the provider.",
    ),
    "GRANT_PENDING": Sentence(
        "授权尚未批准",
        "The grant has not been accepted yet.",
        "等待提供部门批准",
        "Wait for the provider's decision.",
    ),
    "FIELD_NOT_GRANTED": Sentence(
        "请求了授权以外的信息项",
        "A field asked for is not in the grant.",
        "去掉该信息项或另行申请",
        "Leave the field out or apply for it.",
    ),
    "PURPOSE_NOT_GRANTED": Sentence(
        "用途不在授权范围内",
        "The purpose is not in the grant.",
        "使用授权中的用途",
        "Use a purpose that the grant names.",
    ),
    "MATTER_NOT_GRANTED": Sentence(
        "事项不在授权范围内",
        "The matter is not in the grant.",
        "使用授权中的事项",
        "Use a matter that the grant names.",
    ),
    "KIND_NOT_GRANTED": Sentence(
        "该交换方式未授权或未提供",
        "The kind of exchange is not in the grant or not offered.",
        "改用已授权的方式",
        "Use a kind that is granted.",
    ),
    "CASE_REQUIRED": Sentence(
        "缺少办件编号",
        "The exchange names no case number where one is required.",
        "填写办件编号",
        "Name the case.",
    ),
    "NOT_SHARED": Sentence(
        "该信息项不予共享",
        "The field is not shared.",
        "依据见资源目录",
        "See the catalogue for the legal basis.",
    ),
    "PROVIDER_VETO": Sentence(
        "提供部门的本地规则拒绝",
        "The provider's own rules refuse.",
        "与提供部门联系",
        "Speak with the provider.",
    ),
    "TRUST_STALE": Sentence(
        "信任列表过旧，L3、L4 数据停止交换",
        "The trust list is older than the region allows for L3 and L4.",
        "恢复与认证机构的连接",
        "Restore the connection to the authority.",
    ),
    "SECOND_PERSON_REQUIRED": Sentence(
        "需要第二人批准或会签",
        "The action needs a second person or a countersignature.",
        "请另一位有权人员批准",
        "Have another authorised person approve it.",
    ),
    "APPLICATION_NOT_ALLOWED": Sentence(
        "该应用无权用于此用途、资源或操作员",
        "The local application may not ask for this purpose, resource or operator.",
        "由代理的管理员调整应用的权限",
        "Have whoever runs the agent widen the application's rights.",
    ),
    "UNKNOWN_RESOURCE": Sentence(
        "没有该数据资源",
        "There is no such resource.",
        "在目录中查找资源编号",
        "Look the resource up in the catalogue.",
    ),
    "UNKNOWN_ORGANISATION": Sentence(
        "没有该部门",
        "There is no such organisation.",
        "检查统一社会信用代码",
        "Check the credit code.",
    ),
    "UNKNOWN_GRANT": Sentence(
        "没有该授权",
        "There is no such grant.",
        "检查授权编号",
        "Check the grant's id.",
    ),
    "UNKNOWN_ENTRY": Sentence(
        "没有该记录",
        "There is no such entry.",
        "检查序号或交换编号",
        "Check the index or exchange id.",
    ),
    "ENTRY_ERASED": Sentence(
        "该记录保存期满，已删除，其哈希仍在日志中",
        "The entry was erased at the end of its term; its hash is still in the log.",
        "如需证据，使用保存期内导出的证据包",
        "Use a bundle of evidence that was exported within the term.",
    ),
    "UNKNOWN_FIELD": Sentence(
        "资源没有该信息项",
        "The resource has no such field.",
        "按资源目录填写信息项",
        "Use the fields that the catalogue entry names.",
    ),
    "CLOCK_SKEW": Sentence(
        "双方时钟相差超过 60 秒",
        "The clocks differ by more than 60 s.",
        "校准系统时钟",
        "Set the clock by a time server.",
    ),
    "BUNDLE_STALE": Sentence(
        "密钥包未知、过期或已更换",
        "The key bundle named is unknown, expired or superseded.",
        "取得新密钥包后重试",
        "Fetch the newest bundle and ask again.",
    ),
    "WRONG_STATE": Sentence(
        "当前状态不允许此操作",
        "The state does not allow this.",
        "查看对象的当前状态",
        "Look at the state it is in.",
    ),
    "SUSPENDED": Sentence(
        "该资源已暂停",
        "The resource is suspended.",
        "与提供部门联系",
        "Speak with the provider.",
    ),
    "DEADLINE_PASSED": Sentence(
        "超时未得到答复",
        "The deadline passed before an answer came.",
        "稍后重试或延长时限",
        "Try again later or with more time.",
    ),
    "REPLAYED": Sentence(
        "交换编号或声明已被使用",
        "The exchange id or statement was used before.",
        "用新的编号重新请求",
        "Ask again under a new id.",
    ),
    "NOT_AUTHORITATIVE": Sentence(
        "该区划内已有数源部门",
        "Another organisation already provides this item in this division.",
        "与数源部门协调",
        "Settle it with the authoritative source.",
    ),
    "QUEUE_FULL": Sentence(
        "队列或窗口已满",
        "A queue or window is full.",
        "稍后重试",
        "Try again in a moment.",
    ),
    "ROW_CAP": Sentence(
        "结果超过行数上限",
        "More records would be returned than allowed.",
        "缩小查询条件",
        "Ask more narrowly.",
    ),
    "TOO_MANY": Sentence(
        "请求过于频繁",
        "There are too many requests from this identity.",
        "降低频率",
        "Ask less often.",
    ),
    "PROVIDER_AWAY": Sentence(
        "提供部门的节点未连接",
        "The provider's agent is not linked.",
        "稍后重试；持续出现请联系提供部门",
        "Try again later; if it goes on, speak with the provider.",
    ),
    "AUDIT_UNAVAILABLE": Sentence(
        "审计记录无法落盘，未释放任何数据",
        "The audit entry could not be made durable; nothing was released.",
        "联系运维检查审计存储",
        "Ask the operator to look at the audit store.",
    ),
    "LINK_LOST": Sentence(
        "交换途中链路中断",
        "The link broke while the exchange was under way.",
        "重试",
        "Try again.",
    ),
    "GATEWAY_AWAY": Sentence(
        "无法连接网关",
        "The gateway cannot be reached.",
        "检查网络、地址与端口",
        "Check network, address and port.",
    ),
    "SOURCE_DOWN": Sentence(
        "提供部门的数据源不可用",
        "The provider's source cannot be read.",
        "联系提供部门",
        "Speak with the provider.",
    ),
    "SOURCE_TIMEOUT": Sentence(
        "提供部门的数据源超时",
        "The provider's source did not answer in time.",
        "稍后重试",
        "Try again later.",
    ),
    "DRAINING": Sentence(
        "进程正在停止",
        "The process is about to stop.",
        "重试",
        "Try again.",
    ),
    "AUTHORITY_AWAY": Sentence(
        "无法连接认证机构",
        "The authority cannot be reached.",
        "检查网络、地址与端口",
        "Check network, address and port.",
    ),
    "RECEIPT_OVERDUE": Sentence(
        "提供部门未收到回执，已停止应答",
        "The provider gets no receipts and has stopped answering.",
        "由安全员核查网关",
        "Have the security officer look at the gateway.",
    ),
    "LOG_BEHIND": Sentence(
        "审计日志落后于已签发的位置，拒绝签名",
        "The log is behind a head already signed or seen; it refuses to sign.",
        "恢复完整的审计存储；无法恢复时由两名管理员续接：shuqiao gateway epoch propose（见 docs/epochs.md）",
        "Restore the whole audit store; where it is lost, two administrators let the log go on:"
        " shuqiao gateway epoch propose (docs/epochs.md).",
    ),
    "AGENT_AWAY": Sentence(
        "无法连接本部门的前置节点",
        "The department's own agent cannot be reached.",
        "确认前置节点已启动，检查地址或套接字",
        "Make sure the agent runs; check its address or socket.",
    ),
    "LOG_UNWITNESSED": Sentence(
        "见证方签名超过允许的时限仍未达到法定数",
        "No quorum of witnesses has cosigned the log for longer than is allowed.",
        "检查网关到各见证方的连接与见证方的状态",
        "Check the way to the witnesses and how they are.",
    ),
    "WITNESS_AWAY": Sentence(
        "见证方无法连接或拒绝签名",
        "A witness cannot be reached or will not cosign.",
        "检查该见证方的地址、公钥与其已见的日志位置",
        "Check the address and key of the witness, and the head that it holds.",
    ),
    "SINK_AWAY": Sentence(
        "审计记录的接收方无法连接",
        "What audit records are delivered to cannot be reached.",
        "检查接收方的地址与证书；恢复后从断点继续",
        "Check its address and certificate; delivery goes on from where it stopped.",
    ),
    "SEAL_BROKEN": Sentence(
        "密封数据无法打开",
        "A sealed value, wrap or commitment does not open.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "RESPONSE_SIGNATURE": Sentence(
        "答复的签名验证失败",
        "The response's signature does not verify.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "RESPONSE_MISMATCH": Sentence(
        "答复与请求不符",
        "The response does not answer this request.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "RECEIPT_BROKEN": Sentence(
        "回执或证明验证失败",
        "The receipt, proof or checkpoint does not verify.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "LOG_FORKED": Sentence(
        "同一日志的两个位置互相矛盾",
        "Two heads of one log do not agree.",
        "停止使用该网关并报告安全员",
        "Stop using the gateway and tell the security officer.",
    ),
    "BUNDLE_ROLLBACK": Sentence(
        "密钥包比已见的更旧、分叉或缺失",
        "A key bundle is older than one already seen, forks or leaves a gap.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "TRUST_ROLLBACK": Sentence(
        "信任列表比已见的更旧",
        "A trust list is older than one already seen.",
        "报告安全员",
        "Tell the security officer.",
    ),
    "STORE_DAMAGED": Sentence(
        "磁盘上的记录已损坏",
        "A record or file on disk is damaged.",
        "从备份恢复",
        "Restore from backup.",
    ),
    "EVIDENCE_BROKEN": Sentence(
        "证据包验证失败",
        "A bundle of evidence does not verify.",
        "按列出的位置核对，并向出具方重新索取",
        "See the places listed, and ask whoever gave it for another.",
    ),
    "INTERNAL": Sentence(
        "内部错误",
        "Something unforeseen happened.",
        "查看该进程的日志",
        "See the log of the process named.",
    ),
}
